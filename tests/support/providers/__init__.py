"""Stand-ins for the ten providers beside the seeds' four, each written from its documents (field facts, part B).

`PROVIDERS` has all fourteen by the name of their profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from relay.demo.freddy import Freddy
from relay.demo.inference_net import InferenceNet
from relay.demo.netnut import NetNut
from relay.demo.pulse import Pulse
from relay.demo.stand_in import StandIn
from tests.support.providers.apify import Apify
from tests.support.providers.assemblyai import AssemblyAI
from tests.support.providers.brightdata import BrightData
from tests.support.providers.fal import Fal
from tests.support.providers.firecrawl import Firecrawl
from tests.support.providers.openai import OpenAI
from tests.support.providers.oxylabs import Oxylabs
from tests.support.providers.reducto import Reducto
from tests.support.providers.replicate import Replicate
from tests.support.providers.runpod import RunPod

SEEDS: Final = (NetNut, Pulse, InferenceNet, Freddy)
OTHERS: Final = (OpenAI, Fal, Replicate, RunPod, AssemblyAI, Oxylabs, Firecrawl, Apify, Reducto, BrightData)
PROVIDERS: Final[Mapping[str, type[StandIn]]] = MappingProxyType({one.NAME: one for one in (*SEEDS, *OTHERS)})

__all__ = [
    "OTHERS",
    "PROVIDERS",
    "SEEDS",
    "Apify",
    "AssemblyAI",
    "BrightData",
    "Fal",
    "Firecrawl",
    "Freddy",
    "InferenceNet",
    "NetNut",
    "OpenAI",
    "Oxylabs",
    "Pulse",
    "Reducto",
    "Replicate",
    "RunPod",
]
