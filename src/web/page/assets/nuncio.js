// Keeps the page live: what happens in the gateway comes as server-sent events, and the parts marked `data-live` are fetched
// anew. Nothing here is needed to use the page.
"use strict";

const said = document.getElementById("said");
const device = document.querySelector("[data-device]")?.dataset.device;
const LINES = 500;

// A link of `nuncio login` carries its token behind `#`, where no server sees it.
const login = document.querySelector("[data-login]");
if (login && location.hash.length > 1) {
  login.elements.token.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname + location.search);
  login.requestSubmit();
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
  else if (event.target.matches("[data-drop]")) said.textContent = "The image is being checked …";
});

const drop = document.querySelector("[data-drop]");
if (drop) {
  const over = (event, is) => { event.preventDefault(); drop.classList.toggle("over", is); };
  drop.addEventListener("dragover", (event) => over(event, true));
  drop.addEventListener("dragleave", (event) => over(event, false));
  drop.addEventListener("drop", (event) => {
    over(event, false);
    for (const file of event.dataTransfer.files) {
      const chosen = new DataTransfer();
      chosen.items.add(file);
      drop.elements[file.name.endsWith(".minisig") ? "signature" : "image"].files = chosen.files;
    }
    if (drop.elements.image.files.length) drop.requestSubmit();
  });
}

// Whoever is at a link or a button is at the same one afterwards; what somebody types into stays as it is.
function replace(old, now) {
  const at = old.contains(document.activeElement) ? document.activeElement : null;
  if (at?.matches("input, select, textarea")) return;
  const sent = (form) => form && form.action + "?" + new URLSearchParams(new FormData(form));
  const as = (one) => [one.getAttribute("href"), sent(one.form), one.textContent].join("\n");
  const same = at && as(at);
  old.replaceChildren(...now.childNodes);
  if (at) [...old.querySelectorAll(at.localName)].find((one) => as(one) === same)?.focus({ preventScroll: true });
}

let waiting = null;
let busy = false;
function renew() {
  if (waiting || document.hidden) return;
  waiting = setTimeout(async () => {
    waiting = null;
    if (busy) return renew();
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.redirected) return location.reload();
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-live]")) {
        const now = fresh.getElementById(old.id);
        if (now && now.innerHTML !== old.innerHTML) replace(old, now);
      }
    } catch {
      // It does not answer just now, which the stream of events tells.
    } finally {
      busy = false;
    }
  }, 400);
}

const PHASES = { prepare: "preparing", write: "writing", verify: "verifying" };
function progress(news) {
  const { percent, phase } = news.what;
  for (const shown of document.querySelectorAll("[data-progress]")) {
    if (shown.dataset.progress !== news.device) continue;
    const bar = shown.querySelector("progress");
    if (bar) bar.value = percent;
    const number = shown.querySelector(".percent");
    if (number) number.textContent = percent + " %";
    const word = shown.querySelector(".what");
    if (word && PHASES[phase]) word.textContent = PHASES[phase];
  }
}

function log(line) {
  const out = document.getElementById("log");
  if (!out) return;
  out.append(line + "\n");
  while (out.childNodes.length > LINES) out.firstChild.remove();
  out.scrollTop = out.scrollHeight;
}

const SPOKEN = { "proven": "Update proven", "update-failed": "Update failed", "staging-failed": "Image refused", "tool-started": "Flashing begins" };

// A browser has six connections to the gateway, over all its tabs and with the pages that it keeps for "back": a page that is not
// looked at holds none of them for long.
const HIDDEN = 30000;
let events = null;
let lost = false;
let leaving = null;
function follow() {
  if (events) return;
  events = new EventSource("/api/v1/events" + (device ? "?device=" + encodeURIComponent(device) : ""));
  const told = (event) => JSON.parse(event.data);
  for (const name of ["device-joined", "device-changed", "device-left", "device-forgotten", "registration", "firmware", "points-changed", "links-changed", "missed"]) {
    events.addEventListener(name, renew);
  }
  events.addEventListener("update", (event) => {
    const news = told(event);
    const what = news.what.event;
    if (what === "tool-said") return log(news.what.line);
    if (what === "tool-progressed") { progress(news); return log(news.what.phase + " " + news.what.percent + " %"); }
    log(what + (news.what.reason ? ": " + news.what.reason : ""));
    if (SPOKEN[what]) said.textContent = news.device + ": " + SPOKEN[what];
    renew();
  });
  events.addEventListener("open", () => {
    if (said.textContent === LOST) said.textContent = "";
    // What happened meanwhile was told to nobody.
    if (lost) { renew(); gap(); }
    lost = false;
  });
  events.addEventListener("error", () => {
    said.textContent = LOST;
    lost = true;
    // After a refusal the browser does not try again by itself.
    if (events?.readyState === EventSource.CLOSED) {
      unfollow();
      setTimeout(() => { renew(); if (!document.hidden) follow(); }, 5000);
    }
  });
}
function unfollow() {
  events?.close();
  events = null;
  lost = true;
}
function gap() {
  if (document.getElementById("log")?.childNodes.length) log("…");
}
const LOST = "The gateway does not answer; trying again …";
if (document.querySelector("[data-live]")) {
  follow();
  window.addEventListener("pagehide", unfollow);
  window.addEventListener("pageshow", follow);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (document.hidden) leaving = setTimeout(unfollow, HIDDEN);
    else { renew(); follow(); }
  });
}
