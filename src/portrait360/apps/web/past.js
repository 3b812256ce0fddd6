// The cards of runs that are not over say how they stand.
setInterval(async () => {
  for (const part of element.querySelectorAll("[data-job]")) {
    const answer = await fetch(`/jobs/${encodeURIComponent(part.dataset.job)}`).catch(() => null);
    if (answer?.ok) part.textContent = (await answer.json()).caption;
  }
}, 2000);
// A click on a card opens its run and scrolls up to it.
element.addEventListener("click", event => {
  const card = event.target.closest("[data-run]");
  if (!card) return;
  trigger("click", { run: card.dataset.run });
  const top = document.getElementById("p360-result").getBoundingClientRect().top + scrollY;
  const margin = innerWidth > 720 ? 160 : 12; // a phone's screen holds the head and its buttons, and no more
  scrollTo({ top: Math.max(top - margin, 0), behavior: "smooth" });
});
