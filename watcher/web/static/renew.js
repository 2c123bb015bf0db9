"use strict";
// Renews what has changed on the page while somebody looks at it. Without this script the page works, too.
(() => {
  const EVERY_MS = 5000;
  const parts = [...document.querySelectorAll("[data-part]")];
  const known = new Map(parts.map((part) => [part, part.innerHTML]));
  const sentence = document.getElementById("sentence");
  let isAsking = false;

  const isInUse = (part) =>
    part.contains(document.activeElement) ||
    (!getSelection().isCollapsed && getSelection().containsNode(part, true)) ||
    [...part.querySelectorAll("input")].some((one) => one.value !== one.defaultValue || one.checked !== one.defaultChecked);

  function put(part, fresh) {
    if (fresh.innerHTML === known.get(part) || isInUse(part)) return;
    known.set(part, fresh.innerHTML);
    for (const open of part.querySelectorAll("details[open][id]")) {
      fresh.querySelector("#" + open.id)?.setAttribute("open", "");
    }
    part.replaceChildren(...document.adoptNode(fresh).childNodes);
  }

  async function renew() {
    if (document.hidden || isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(20000) });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts) {
        const fresh = page.getElementById(part.id);
        if (fresh) put(part, fresh);
      }
      const said = page.getElementById("sentence")?.textContent;
      if (sentence && said && said !== sentence.textContent) sentence.textContent = said;
    } catch {
      if (sentence) sentence.textContent = "The page cannot be renewed: the daemon does not answer.";
    } finally {
      isAsking = false;
    }
  }

  if (parts.length) {
    setInterval(renew, EVERY_MS);
    document.addEventListener("visibilitychange", renew);
  }
})();
