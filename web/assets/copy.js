// Copies what stands in the block before a button, or the address that the button names. Without scripts there are no such
// buttons: the style shows them only where this has run.
"use strict";
(() => {
  async function copied(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* An address that is not this machine's has no clipboard without TLS: the old way may do. */ }
    const field = document.createElement("textarea");
    field.className = "hidden";
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const address = button.dataset.address;
    const text = address ? new URL(address, location).href : button.previousElementSibling.textContent;
    const done = await copied(text);
    button.focus();
    button.textContent = done ? "Copied" : "Select and copy it";
  });
  document.documentElement.classList.add("copies");
})();
