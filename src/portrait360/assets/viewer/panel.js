// The controls beside the head: sliders of expressions in groups, and the light's disc.

const GROUPS = [
  ["Eyes", /^eye/], ["Brows", /^brow/], ["Mouth", /^mouth/], ["Jaw and tongue", /^(jaw|tongue)/],
  ["Cheeks and nose", /^(cheek|nose)/], ["More", /^/],
];

// "mouthSmileLeft" is the unit "smile left" of the mouth.
function labelOf(name) {
  const words = name.replace(/([A-Z])/g, " $1").toLowerCase().split(" ");
  const kept = words.length > 1 && /^(eye|brow|mouth|cheek)$/.test(words[0]) ? words.slice(1) : words;
  const text = kept.join(" ");
  return text[0].toUpperCase() + text.slice(1);
}

function element(kind, settings = {}, ...children) {
  const made = Object.assign(document.createElement(kind), settings);
  made.append(...children);
  return made;
}

class Panel {
  constructor(face, commands) {
    this.face = face;
    this.commands = commands;
    this.sliders = []; // {names, input, output}
    this.build();
    document.getElementById("apart").addEventListener("change", () => this.build());
  }

  build() {
    const apart = document.getElementById("apart").checked, place = document.getElementById("units");
    const open = [...place.querySelectorAll("details[open]")].map((group) => group.dataset.group);
    const taken = new Set();
    this.sliders = [];
    place.replaceChildren();
    for (const [title, pattern] of GROUPS) {
      const units = this.face.names.filter((name) => pattern.test(name) && !taken.has(name));
      if (!units.length) continue;
      units.forEach((name) => taken.add(name));
      const group = element("details", {}, element("summary", { textContent: title }));
      group.dataset.group = title;
      group.open = open.includes(title);
      for (const names of this.pair(units, apart)) group.append(this.slider(names));
      place.append(group);
    }
    this.update();
  }

  // Left and right share a slider, unless they are wanted apart or have other names; jaw and mouth also go sideways.
  pair(units, apart) {
    const out = new Map();
    for (const name of units) {
      const plain = name.replace(/(Left|Right)$/, "");
      const paired = ["Left", "Right"].every((side) => units.includes(plain + side)) && !/^(jaw|mouth)$/.test(plain);
      const key = paired && !apart ? plain : name;
      out.set(key, [...(out.get(key) ?? []), name]);
    }
    return out.values();
  }

  slider(names) {
    const common = names.length > 1 ? names[0].replace(/(Left|Right)$/, "") : names[0], id = `unit-${common}`;
    const input = element("input", { type: "range", id, min: 0, max: 1, step: 0.01 });
    const output = element("output");
    output.htmlFor = id;
    const label = element("label", { htmlFor: id, textContent: labelOf(common), title: names.join(", ") });
    input.addEventListener("input", () => this.commands.weigh(names, Number(input.value)));
    this.sliders.push({ names, input, output });
    return element("div", { className: "unit" }, label, input, output);
  }

  update() {
    for (const { names, input, output } of this.sliders) {
      const value = names.reduce((sum, name) => sum + this.face.wanted[name], 0) / names.length;
      input.value = value;
      output.value = Math.round(100 * value);
    }
  }
}

// A round field whose middle is light from the front and whose rim is light from behind.
class LightDisc {
  constructor(disc, changed) {
    Object.assign(this, { disc, changed, light: KEY });
    disc.addEventListener("pointerdown", (event) => {
      disc.setPointerCapture(event.pointerId);
      this.drag(event);
    });
    disc.addEventListener("pointermove", (event) => {
      if (disc.hasPointerCapture(event.pointerId)) this.drag(event);
    });
    disc.addEventListener("keydown", (event) => this.key(event));
    disc.addEventListener("dblclick", () => this.set(KEY.azimuth, KEY.elevation, false));
    this.show();
  }

  drag(event) {
    const box = this.disc.getBoundingClientRect();
    const x = 2 * (event.clientX - box.left) / box.width - 1, y = 1 - 2 * (event.clientY - box.top) / box.height;
    const reach = Math.min(Math.hypot(x, y), 1) * 150 * RADIANS, way = Math.atan2(y, x); // from the viewing axis
    const side = Math.sin(reach) * Math.cos(way), up = Math.sin(reach) * Math.sin(way), front = Math.cos(reach);
    this.set(Math.atan2(side, front) / RADIANS, Math.asin(Math.max(-1, Math.min(1, up))) / RADIANS);
  }

  key(event) {
    const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const { azimuth, elevation } = this.light;
    this.set(azimuth + step[0], Math.max(-80, Math.min(80, elevation + step[1])));
  }

  // `moved` is false where the light stands as at first.
  set(azimuth, elevation, moved = true) {
    this.light = { azimuth: ((azimuth + 540) % 360) - 180, elevation, moved };
    this.show();
    this.changed(this.light);
  }

  show() {
    const { azimuth, elevation } = this.light, from = onSphere(azimuth, elevation, 1);
    const reach = Math.min(Math.acos(Math.max(-1, Math.min(1, from.z))) / (150 * RADIANS), 1);
    const way = Math.atan2(from.y, from.x);
    const knob = this.disc.firstElementChild.style;
    knob.left = `${50 + 42 * reach * Math.cos(way)}%`;
    knob.top = `${50 - 42 * reach * Math.sin(way)}%`;
    this.disc.setAttribute("aria-valuenow", Math.round(azimuth));
    const [side, height] = [azimuth < 0 ? "left" : "right", elevation < 0 ? "down" : "up"];
    const degrees = [azimuth, elevation].map((angle) => Math.round(Math.abs(angle)));
    this.disc.setAttribute("aria-valuetext", `${degrees[0]}° to the ${side}, ${degrees[1]}° ${height}`);
  }
}
