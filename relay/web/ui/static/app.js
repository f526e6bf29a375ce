// What the pages gain from a script: live parts, copy buttons, keys. Without it they work as they are.
"use strict";

const EVERY_MS = 2000;
const byId = (id) => document.getElementById(id);

// --- copying ---
document.addEventListener("click", (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  const done = (word) => {
    const before = button.dataset.word || button.textContent;
    button.dataset.word = before;
    button.textContent = word;
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  if (!navigator.clipboard) return done("select it by hand"); // browsers offer it to secure pages only
  navigator.clipboard.writeText(button.dataset.copy).then(() => done("copied"), () => done("not allowed"));
});
const showCopy = (root) => root.querySelectorAll(".copy").forEach((button) => { button.hidden = false; });
showCopy(document);

// --- live parts: the page is fetched again and its parts marked data-live are exchanged ---
let paused = sessionStorage.getItem("paused") === "yes";
const pause = byId("pause");
function sayPaused() {
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "▶ resume" : "● live  ‖";
  pause.setAttribute("aria-label", paused ? "Live updates are paused: resume" : "Updates are live: pause");
}
function busy(part) { // somebody is at it: an exchange would take it out of their hands
  const marked = getSelection();
  const active = document.activeElement;
  const typing = part.contains(active) && active !== part;
  const open = part.querySelector("details[open]");
  return typing || open || (marked && !marked.isCollapsed && part.contains(marked.anchorNode));
}
async function refresh() {
  const answer = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
  if (answer.type === "opaqueredirect") { location.reload(); return; } // the session is over
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  let held = 0;
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (!next) continue;
    showCopy(next);
    if (part.innerHTML === next.innerHTML) continue;
    if (busy(part)) { held += 1; continue; }
    const row = part.querySelector("tr.here");
    const place = row && row.dataset.open;
    const left = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    part.replaceChildren(...next.childNodes);
    part.querySelectorAll(".scroll").forEach((box, index) => { box.scrollLeft = left[index] || 0; });
    const again = place && [...part.querySelectorAll("tr[data-open]")].find((one) => one.dataset.open === place);
    if (again) again.classList.add("here");
  }
  const said = held ? "Updates wait while you are at it." : "";
  if (byId("said").textContent !== said) byId("said").textContent = said;
}
async function keepFresh() {
  for (;;) {
    const hurried = document.querySelector("[data-every]"); // a page whose subject is over in a moment looks more often
    await new Promise((wake) => setTimeout(wake, hurried ? Number(hurried.dataset.every) : EVERY_MS));
    if (paused || document.hidden) continue;
    try { await refresh(); } catch (error) { byId("said").textContent = "Relay cannot be reached; trying again."; }
  }
}
function turn() {
  paused = !paused;
  sessionStorage.setItem("paused", paused ? "yes" : "no");
  sayPaused();
}
if (pause && document.querySelector("[data-live]")) {
  byId("live").hidden = false;
  pause.addEventListener("click", turn);
  sayPaused();
  keepFresh();
}

// --- keys ---
function rows() { return [...document.querySelectorAll("tr[data-open]")]; }
function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.classList.contains("here"));
  const next = at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + step));
  if (at >= 0) all[at].classList.remove("here");
  all[next].classList.add("here");
  all[next].scrollIntoView({ block: "nearest" });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, button, a, summary, dialog")) return;
  if (event.key === "/" && byId("q")) { byId("q").focus(); event.preventDefault(); }
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
  if (event.key === "p" && pause) turn();
  if (event.key === "?" && byId("help")) byId("help").showModal();
  const here = document.querySelector("tr.here");
  if (event.key === "Enter" && here) location.href = here.dataset.open;
});

// --- a link that was opened by a person signs in without another click ---
if (byId("by-link")) byId("by-link").requestSubmit();
