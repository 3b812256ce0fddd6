// The browser cannot draw every file that a run can open: show a note instead of a broken image.
const words = "No preview available";
const placeholder = `<svg xmlns="http://www.w3.org/2000/svg" width="400" height="230"><text x="200" y="120" fill="#64748b"
  font-family="system-ui,sans-serif" font-size="16" text-anchor="middle">${words}</text></svg>`;
document.addEventListener("error", event => {
  const image = event.target;
  if (!(image instanceof HTMLImageElement) || !image.closest("#p360-photo, #p360-back")) return;
  if (!image.src.startsWith("data:image/svg")) image.src = "data:image/svg+xml," + encodeURIComponent(placeholder);
}, true);
// Cancelling asks first where it would throw away work; a run that has written something can be finished later.
const MUCH = 5; // seconds of work
document.addEventListener("click", event => {
  if (!event.target.closest?.("#p360-cancel")) return;
  const lost = Number(document.querySelector("#p360-status [data-lost]")?.dataset.lost ?? 0);
  if (lost <= MUCH || confirm(`Stop this run? The ${lost} seconds of work done so far will be lost.`)) return;
  event.preventDefault();
  event.stopPropagation();
}, true);
// A warning of the check that the run repeats is shown once, with the run.
new MutationObserver(() => {
  const said = new Set([...document.querySelectorAll("#p360-details .p360-warnings li")].map(one => one.textContent));
  for (const panel of document.querySelectorAll("#p360-check .p360-warnings")) {
    const items = [...panel.querySelectorAll("li")];
    for (const one of items) one.hidden = said.has(one.textContent);
    panel.hidden = items.every(one => one.hidden);
  }
}).observe(document.body, { childList: true, subtree: true });
// Screen readers are told what each group of choices is, and nothing of icons.
new MutationObserver(() => {
  for (const group of document.querySelectorAll("fieldset:not([aria-label])")) {
    const label = group.querySelector("[data-testid=block-info]")?.textContent.trim();
    if (label) group.setAttribute("aria-label", label);
  }
  for (const icon of document.querySelectorAll("svg:not([aria-hidden])")) icon.setAttribute("aria-hidden", "true");
}).observe(document.body, { childList: true, subtree: true });
// On a narrow screen the progress is below the form: go there when a run is started, as soon as the page is long enough.
document.addEventListener("click", event => {
  if (!event.target.closest?.("#p360-make") || innerWidth > 720) return;
  const right = document.getElementById("p360-right");
  const watch = new MutationObserver(() => {
    if (!document.querySelector("#p360-status [class^=p360]")) return;
    watch.disconnect();
    right.scrollIntoView({ behavior: "smooth" });
  });
  watch.observe(right, { childList: true, subtree: true, characterData: true });
});
