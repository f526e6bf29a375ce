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

// --- times: the server writes UTC; here they can be said in the browser's own zone ---
let isLocal = localStorage.getItem("zone") === "local";
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
const STAMP = /\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d\.\d{3})?Z/g;
const two = (number) => String(number).padStart(2, "0");
function localStamp(text) { // as the server writes it, with the zone's offset instead of the Z
  const at = new Date(text);
  const away = -at.getTimezoneOffset();
  const here = new Date(at.getTime() + away * 60000).toISOString();
  const offset = (away < 0 ? "-" : "+") + two(Math.trunc(Math.abs(away) / 60)) + ":" + two(Math.abs(away) % 60);
  return here.slice(0, text.length - 1) + offset;
}
const SHAPES = { // of a stamp: what the server shows of it
  clock: (stamp) => stamp.slice(11, 23),
  minute: (stamp) => stamp.slice(5, 16).replace("T", " "),
  day: (stamp) => stamp.slice(0, 16).replace("T", " "),
};
function showTimes(root) {
  for (const one of root.querySelectorAll("time[datetime]")) {
    const stamp = isLocal ? localStamp(one.dateTime) : one.dateTime;
    one.title = stamp;
    if (one.dataset.shape) one.textContent = SHAPES[one.dataset.shape](stamp);
  }
  for (const one of root.querySelectorAll("svg title")) {
    if (!isLocal && !one.dataset.utc) continue;
    one.dataset.utc = one.dataset.utc || one.textContent;
    one.textContent = isLocal ? one.dataset.utc.replace(STAMP, localStamp) : one.dataset.utc;
  }
}
function sayZone() {
  byId("zone").textContent = isLocal ? "local time" : "UTC";
  byId("zone").setAttribute("aria-label", isLocal ? `Times are ${ZONE}: show UTC` : `Times are UTC: show ${ZONE}`);
  byId("zone-said").textContent = `Times are ${isLocal ? ZONE : "UTC"}; point at one for the exact instant.`;
}
function turnZone() {
  isLocal = !isLocal;
  localStorage.setItem("zone", isLocal ? "local" : "utc");
  sayZone();
  showTimes(document);
}
if (byId("zone")) {
  byId("zone").hidden = false;
  byId("zone").addEventListener("click", turnZone);
  sayZone();
  if (isLocal) showTimes(document);
}

// --- selecting rows ---
const picks = () => [...document.querySelectorAll("input[form=bulk]")];
function sayPicked() {
  const all = picks();
  const count = all.filter((one) => one.checked).length;
  if (byId("picked")) byId("picked").textContent = count ? `${count} selected` : "none selected";
  const every = byId("pick-all");
  if (every) { every.checked = count > 0 && count === all.length; every.indeterminate = count > 0 && count < all.length; }
}
function showPicks(root) { root.querySelectorAll("#pick-all").forEach((one) => { one.hidden = false; }); }
document.addEventListener("change", (event) => {
  if (event.target.id === "pick-all") picks().forEach((one) => { one.checked = event.target.checked; });
  if (event.target.id === "pick-all" || event.target.form === byId("bulk")) sayPicked();
});
showPicks(document);
sayPicked();

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
  const picked = part.querySelector("input:checked");
  return typing || open || picked || (marked && !marked.isCollapsed && part.contains(marked.anchorNode));
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
    showPicks(next);
    if (isLocal) showTimes(next);
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
function rows() { return [...document.querySelectorAll("tr[data-open], tr:has(td > input[form=bulk])")]; }
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
  const box = event.target.type === "checkbox";
  if (box && event.key === "Enter") event.preventDefault(); // or the form under the boxes would be sent
  if (!box && event.target.closest("input, select, textarea, button, a, summary, dialog")) return;
  if (event.key === "/" && byId("q")) { byId("q").focus(); event.preventDefault(); }
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
  if (event.key === "p" && pause) turn();
  if (event.key === "?" && byId("help")) byId("help").showModal();
  const here = document.querySelector("tr.here");
  const pick = here && here.querySelector("input[form=bulk]");
  if (event.key === "x" && pick) { pick.checked = !pick.checked; sayPicked(); }
  if (event.key === "Enter" && here && here.dataset.open && !box) location.href = here.dataset.open;
});

// --- a link that was opened by a person signs in without another click ---
if (byId("by-link")) byId("by-link").requestSubmit();
