// The browser cannot draw every file that a run can open: show a note instead of a broken image.
const words = "No preview of this file";
const placeholder = `<svg xmlns="http://www.w3.org/2000/svg" width="400" height="230"><text x="200" y="120" fill="#64748b"
  font-family="system-ui,sans-serif" font-size="16" text-anchor="middle">${words}</text></svg>`;
document.addEventListener("error", event => {
  const image = event.target;
  if (!(image instanceof HTMLImageElement) || !image.closest("#p360-photo, #p360-back")) return;
  if (!image.src.startsWith("data:image/svg")) image.src = "data:image/svg+xml," + encodeURIComponent(placeholder);
}, true);
// On a narrow screen the progress is below the form: go there when a run is started.
document.addEventListener("click", event => {
  if (!event.target.closest?.("#p360-make") || innerWidth > 720) return;
  document.getElementById("p360-right").scrollIntoView({ behavior: "smooth" });
});
