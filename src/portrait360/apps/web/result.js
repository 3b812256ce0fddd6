// Buttons below a result, and the slider between the photo and the head.
element.addEventListener("click", event => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const { do: action, run } = button.dataset;
  if (action === "delete" && !confirm("Delete this run and all its files?")) return;
  const style = element.querySelector("[data-style]")?.value;
  const length = element.querySelector("[data-length]")?.value;
  trigger("click", { do: action, run, style, length });
  if (action !== "again") document.getElementById("p360-right").scrollIntoView({ behavior: "smooth" });
  else document.getElementById("p360-photo").scrollIntoView({ behavior: "smooth", block: "center" });
});
element.addEventListener("input", event => {
  const box = event.target.closest(".p360-compare");
  if (box) box.style.setProperty("--cut", `${event.target.value}%`);
});
