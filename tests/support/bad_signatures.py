"""Texts that come close to a valid Standard Webhooks signature and are none."""

import base64


def malformed_signatures(right: str) -> list[str]:
    """Variations of `right`, the base64 of a valid signature, each to be refused."""
    digest = base64.b64decode(right)
    return [
        "v1",
        "v1,",
        ",",
        " ",
        "v1,!!!",
        *(f"v1,{base64.b64encode(digest[:n]).decode()}" for n in range(1, 32)),
        f"v1,{base64.b64encode(digest + b'x').decode()}",
        f"v1a,{right}",
        f"v0,{right}",
        f"V1,{right}",
        right,
        f"v1, {right}",
        f"v1,{right}\r\n",
        f"v1,{right}\n",
        f"v1,{right}=",
        f"v1,{right.rstrip('=')}",
        f"v1,{right},",
        f"v1,{right[:10]}!{right[10:]}",
        f"v1,{right}\u00e9",
        f"v1,{right}\ud800",
        "\u0661",
        f"v1,{right.swapcase()}",
        f"v1,{digest.hex()}",
        f"v1,{right.replace('+', '-').replace('/', '_')}x",
        " ".join(["v1,x"] * 10_000),
        " ".join(["v1,x"] * 10_000 + [f"v1,{right}"]),
    ]
