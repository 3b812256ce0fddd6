// A click on an example, a face or an angle says which.
element.addEventListener("click", event => {
  const button = event.target.closest("[data-example], [data-choice]");
  if (!button) return;
  const { face, azimuth, elevation, example } = button.dataset;
  trigger("click", { face, azimuth, elevation, example });
});
