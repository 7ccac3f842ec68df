// Keeps an open page up to date, from one stream of what has changed on it.
//
// The server sends elements with ids; each is made like the one here, node by node, so that focus, selection, open
// details and what was typed survive. A page that hears nothing says so. Browsers allow six connections to one
// address: a hidden page closes its stream, and of the visible ones only the newest few stream, the others ask.
"use strict";
(() => {
  // A process that serves nothing yet has no streams: the page is asked for again until there is another one.
  if (document.getElementById("waiting")) {
    setTimeout(() => location.reload(), 2000);
    return;
  }
  const page = location.pathname === "/" ? "" : location.pathname;
  // A page may say what its stream has to know beyond its own address.
  const told = document.querySelector("meta[name=live]");
  const address = told ? told.content : "/live" + page + location.search;
  const STREAMS_MAX = 3, ASK_EVERY = 1000, STALE_AFTER = 4000;
  const others = new BroadcastChannel("quorate-live");
  let stream = null, asking = null, newer = 0, heard = Date.now();

  // Makes a node like another one, and takes from that what is lacking here.
  function liken(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.isEqualNode(fresh)) return;
    // Whether details are open, and what stands in a field, is the reader's.
    const isTheirs = (name) => name === "open" || (name === "value" && old.matches("input:not([type=hidden])"));
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !isTheirs(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !isTheirs(name)) old.setAttribute(name, value);
    }
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const known = child.id && [...old.children].find((one) => one.id === child.id);
      if (known && known !== at) old.insertBefore(known, at);
      const mine = known || at;
      const isSame = mine && mine.nodeName === child.nodeName && (mine.id || "") === (child.id || "");
      if (isSame) {
        liken(mine, child);
        at = mine.nextSibling;
      } else {
        old.insertBefore(child, at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function news(html) {
    heard = Date.now();
    document.getElementById("stale")?.remove();
    const made = document.createElement("template");
    made.innerHTML = html;
    for (const fresh of [...made.content.children]) {
      const old = document.getElementById(fresh.id);
      if (old) liken(old, fresh);
    }
  }

  function say(words) {
    let stale = document.getElementById("stale");
    if (!stale) {
      stale = document.createElement("p");
      stale.id = "stale";
      stale.className = "notice warn";
      stale.setAttribute("role", "status");
      document.getElementById("main").prepend(stale);
      const icon = document.getElementById("icon");
      icon.href = icon.dataset.unknown;
      document.title = "◌ Not up to date · Quorate";
    }
    if (stale.textContent !== words) stale.textContent = words;
  }

  function stop() {
    stream?.close();
    clearInterval(asking);
    stream = asking = null;
  }

  function start() {
    stop();
    if (document.hidden) return;
    newer = 0;
    others.postMessage("streaming");
    stream = new EventSource(address);
    stream.onmessage = (event) => news(event.data);
    stream.addEventListener("gone", (event) => say("▲ Not up to date: " + event.data));
    stream.onerror = () => { if (stream?.readyState === EventSource.CLOSED) ask(); };
  }

  function ask() {
    stop();
    asking = setInterval(async () => {
      try {
        const answer = await fetch(address, { cache: "no-store" });
        if (answer.ok) news(await answer.text());
      } catch { /* The clock below tells. */ }
    }, ASK_EVERY);
  }

  others.onmessage = () => { if (stream && ++newer >= STREAMS_MAX) ask(); };
  document.addEventListener("visibilitychange", start);
  addEventListener("focus", () => { if (asking) start(); });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => { if (event.persisted) start(); });
  setInterval(() => {
    const silent = Date.now() - heard;
    if (document.hidden || silent < STALE_AFTER) return;
    say("▲ No news for " + Math.round(silent / 1000) + " s: what stands here may be outdated.");
    // Another stream begins with everything, so nothing that was missed stays missing.
    if (stream && Math.round(silent / 1000) % 5 === 0) start();
  }, 1000);
  start();
})();
