// Counts what a followed log had and this page did not show: the newest records are looked at about once a second, and
// more may have come in between than a look shows. Each look says where it begins and where the next one goes on.
"use strict";
(() => {
  const followed = document.getElementById("followed");
  const told = document.getElementById("skipped");
  let next = Number(followed.dataset.next), skipped = Number(followed.dataset.skipped);
  new MutationObserver(() => {
    const first = Number(followed.dataset.first);
    if (first > next) {
      skipped += first - next;
      told.textContent = skipped.toString().replace(/\B(?=(\d{3})+$)/g, "\u202f") + " came too fast to be shown.";
    }
    next = Number(followed.dataset.next);
  }).observe(followed, { attributes: true, attributeFilter: ["data-first", "data-next"] });
})();
