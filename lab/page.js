// Draws the charts, tells them what the reader has chosen, and gives their numbers and pictures away.
// What is chosen stands in the address (#focus=brier&stage=...): it can be sent, and Back undoes it.
const page = JSON.parse(document.getElementById("charts").textContent);
const options = { actions: false, renderer: "svg" };
const places = Object.keys(page.specs).map((id) => document.getElementById(id));
const drawn = places.map((place) => vegaEmbed(place, { ...page.specs[place.id], datasets: page.datasets }, options));

// -- choices --

/** The rows that are a chart's own. */
function rowsOf({ data, where }) {
  const own = (row) => Object.entries(where).every(([name, value]) => row[name] === value);
  return data.flatMap((name) => page.datasets[name]).filter(own);
}
const known = places.map(({ id }) => {
  const of = page.specs[id].usermeta;
  return new Set(of.link ? rowsOf(of).map((row) => row[of.link]) : []);
});
const chosen = () => new URLSearchParams(location.hash.slice(1));
function choose(name, value) {
  const all = chosen();
  all.set(name, value);
  location.hash = all;
}
const isolate = (key) => choose("focus", chosen().get("focus") === key ? "all" : key);
const said = ({ list, value }) => list.options[value].label;

/** Tells a chart a choice, if it knows such a thing; null: what it began with. */
function tell(i, view, name, value) {
  const own = page.specs[places[i].id].params.find((one) => one.name === name);
  if (!own) return;
  const here = name !== "focus" || known[i].has(value) ? value : value && "all";
  view.signal(name, here ?? own.value);
}
function show(name, value) {
  drawn.forEach((one, i) => one.then(({ view }) => (tell(i, view, name, value), view.runAsync())));
}
function speak(slider) {
  slider.setAttribute("aria-valuetext", said(slider));
  slider.nextElementSibling.value = said(slider);
}
/** Everything as the address says. */
function restore() {
  const all = chosen();
  const focus = all.get("focus");
  for (const button of document.querySelectorAll("[data-focus]"))
    button.ariaPressed = focus === null ? "first" in button.dataset : button.dataset.focus === focus;
  const list = document.getElementById("focus");
  if (list) list.value = [...list.options].some((one) => one.value === focus) ? focus : "all";
  show("focus", focus);
  const radios = [...document.querySelectorAll("input[type=radio]")];
  if (radios.length) {
    const one = radios.find((radio) => radio.value === all.get("stage")) ?? radios.find((radio) => radio.defaultChecked);
    one.checked = true;
    show("stage", one.value);
  }
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const at = [...slider.list.options].find((option) => option.label === all.get(slider.name));
    slider.value = at ? at.value : slider.defaultValue;
    speak(slider);
    show(slider.name, slider.value);
  }
}

addEventListener("hashchange", restore);
document.addEventListener("input", ({ target }) => {
  if (target.type !== "range") return;
  speak(target); // while it moves; where it comes to rest is kept below
  show(target.name, target.value);
});
document.addEventListener("change", ({ target }) => {
  choose(target.name || target.id, target.list ? said(target) : target.value);
});
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-focus]");
  if (button) isolate(button.dataset.focus);
});
document.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && (chosen().get("focus") ?? "all") !== "all") return choose("focus", "all");
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const legend = document.activeElement.closest(".legend");
  if (!step || !legend) return;
  const buttons = [...legend.children];
  buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length).focus();
  event.preventDefault();
});
drawn.forEach((one, i) =>
  one.then(({ view }) => {
    const { link } = page.specs[places[i].id].usermeta;
    view.addEventListener("click", (_, item) => {
      const key = item?.datum?.[link];
      if (known[i].has(key) && key) isolate(key);
    });
  }),
);
restore();

// -- numbers and pictures to take away --

/** A row whose lists run in step, as rows with one value each. */
function apart(row) {
  const lists = Object.keys(row).filter((name) => Array.isArray(row[name]));
  if (!lists.length) return [row];
  return row[lists[0]].map((_, i) => ({ ...row, ...Object.fromEntries(lists.map((name) => [name, row[name][i]])) }));
}
/** All rows of a chart, at every stage, as CSV. */
function csv(of) {
  const rows = rowsOf(of).flatMap(apart);
  const names = [...new Set(rows.flatMap(Object.keys))].filter((name) => of.names[name] !== "");
  const heads = names.map((name) => of.names[name] ?? name);
  const cell = (value) => (/[",\n]/.test(value ?? "") ? `"${String(value).replaceAll('"', '""')}"` : (value ?? ""));
  return [heads, ...rows.map((row) => names.map((name) => row[name]))].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
/** A chart as it is now, black on white, with the legend that the page writes over it. */
async function svg(i) {
  const inner = await (await drawn[i]).view.toSVG();
  const [width, height] = ["width", "height"].map((side) => Number(inner.match(`${side}="([\\d.]+)"`)[1]));
  const entries = [...(places[i].closest("figure")?.querySelectorAll(".legend [data-focus]:has(svg)") ?? [])];
  let x = 8, y = height + 14;
  const key = entries.map((entry) => {
    const room = 44 + 6.6 * entry.textContent.length;
    if (x > 8 && x + room > width) (x = 8), (y += 18);
    const text = new Option(entry.textContent).innerHTML; // escaped
    const mark = `<g transform="translate(${x},${y})">${entry.querySelector("line").outerHTML}`;
    x += room;
    return `${mark}<text x="31" y="9" font-size="11" font-family="Arial, sans-serif">${text}</text></g>`;
  });
  const all = key.length ? y + 24 : height;
  const body = `<rect width="100%" height="100%" fill="#fff"/>${inner}${key.join("")}`.replaceAll('"currentColor"', '"#000"');
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${all}" viewBox="0 0 ${width} ${all}">${body}</svg>`;
}
async function png(i) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await svg(i))}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: 2 * image.width, height: 2 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done));
}
const makers = {
  CSV: (i) => new Blob([csv(page.specs[places[i].id].usermeta)], { type: "text/csv" }),
  SVG: async (i) => new Blob([await svg(i)], { type: "image/svg+xml" }),
  PNG: png,
};
places.forEach((place, i) => {
  const row = Object.assign(document.createElement("p"), { className: "take" });
  for (const [kind, make] of Object.entries(makers)) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: kind });
    button.ariaLabel = `${kind === "CSV" ? "numbers" : "picture"} of this chart as ${kind}`;
    button.addEventListener("click", async () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await make(i));
      link.download = `${page.name}-${place.id}.${kind.toLowerCase()}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    row.append(button);
  }
  place.after(row);
});
