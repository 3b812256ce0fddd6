// Views alone turn, too: a hand that moves over them, or the arrow keys, goes around.
const go = (box, step) => {
  const views = [...box.querySelectorAll("img")];
  if (!views.length) return;
  const at = views.findIndex(view => view.classList.contains("on"));
  views[at]?.classList.remove("on");
  views[(((at + step) % views.length) + views.length) % views.length].classList.add("on");
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
  const width = box.clientWidth / Math.max(box.querySelectorAll("img").length, 8); // once across is once around
  const steps = Math.trunc((from - event.clientX) / width);
  if (!steps) return;
  go(box, steps);
  from -= steps * width;
});
for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { box = null; });
element.addEventListener("keydown", event => {
  const held = event.target.closest(".p360-turn");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!held || !step) return;
  event.preventDefault();
  go(held, step);
});
