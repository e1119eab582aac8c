// Draws the charts and tells them what the reader has chosen; each input is named like the parameter it sets.
const page = JSON.parse(document.getElementById("charts").textContent);
const options = { actions: false, renderer: "svg" };
const drawn = Object.entries(page.specs).map(([id, spec]) =>
  vegaEmbed(`#${id}`, { ...spec, datasets: page.datasets }, options),
);
function tell(input) {
  if (input.list) {
    const label = input.list.options[input.value].label;
    input.setAttribute("aria-valuetext", label);
    input.nextElementSibling.value = label;
  }
  for (const one of drawn) one.then(({ view }) => view.signal(input.name, input.value).runAsync());
}
document.addEventListener("input", (event) => tell(event.target));
// A browser may have kept the choices of an earlier visit.
document.querySelectorAll("input:checked, input[type=range]").forEach(tell);
