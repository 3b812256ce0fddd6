// A turntable of views: dragging or the arrow keys change which view is visible.
const turn = (box, step) => {
  const views = [...box.querySelectorAll("img")];
  if (!views.length) return;
  const index = views.findIndex(view => view.classList.contains("on"));
  views[index]?.classList.remove("on");
  views[(((index + step) % views.length) + views.length) % views.length].classList.add("on");
};
let box = null, from = 0;
element.addEventListener("pointerdown", event => {
  box = event.target.closest(".p360-turn");
  if (!box) return;
  from = event.clientX;
  box.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", event => {
  if (!box || !event.buttons) return;
  const width = box.clientWidth / Math.max(box.querySelectorAll("img").length, 8); // a full width is a full turn
  const steps = Math.trunc((from - event.clientX) / width);
  if (!steps) return;
  turn(box, steps);
  from -= steps * width;
});
for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { box = null; });
element.addEventListener("keydown", event => {
  const focused = event.target.closest(".p360-turn");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!focused || !step) return;
  event.preventDefault();
  turn(focused, step);
});
