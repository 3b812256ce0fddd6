// What hands do: buttons, keys, sliders, touches and the pointer.

const TURN = 10; // degrees of an arrow key
const ZOOM = 1.12;

class Tools {
  constructor(page) {
    this.page = page;
    page.tools = this;
    this.hideWhatIsNotThere();
    this.listenToView();
    this.listenToPanel();
    this.listenToButtons();
    addEventListener("keydown", (event) => this.key(event));
  }

  hideWhatIsNotThere() {
    const { modes, face, about } = this.page;
    for (const label of byId("modes").children) label.hidden = !modes.includes(label.querySelector("input").value);
    for (const id of ["presets", "manners", "units", "sides"]) byId(id).hidden = !face;
    byId("note").hidden = !(face && about.splats);
    byId("still").hidden = Boolean(about.rig);
    byId("alive").hidden = !about.rig;
    byId("lamp").hidden = byId("save").hidden = !about.mesh;
    byId("panel").hidden = byId("fold").hidden = modes.length < 2;
    if (modes.length < 2) document.querySelector("main").classList.add("folded");
    byId("compare").hidden = !about.photo;
    if (about.photo) byId("photo").querySelector("img").src = about.photo;
    byId("full").hidden = !document.fullscreenEnabled;
  }

  listenToView() {
    const { page } = this, { controls } = page;
    controls.addEventListener("change", () => page.gaze());
    controls.addEventListener("start", () => { byId("help").classList.add("gone"); page.turn(0); });
    new ResizeObserver(() => page.changed()).observe(byId("view"));
    byId("view").addEventListener("dblclick", () => page.place(HOME));
    addEventListener("pointermove", (event) => this.point(event));
    document.documentElement.addEventListener("pointerleave", () => { page.pointer = null; page.gaze(); });
    document.addEventListener("fullscreenchange", () => press("full", document.fullscreenElement));
  }

  listenToPanel() {
    const { page } = this;
    byId("modes").addEventListener("change", (event) => page.show(event.target.value));
    this.disc = new LightDisc(byId("disc"), (light) => page.setLight(light));
    byId("strength").addEventListener("input", (event) => page.setLight({ strength: Number(event.target.value) }));
    if (!page.face) return;
    this.panel = new Panel(page.face, { weigh: (names, value) => this.weigh(names, value) });
    byId("presets").addEventListener("click", ({ target }) => { if (target.dataset.preset) this.preset(target.dataset.preset); });
    byId("follow").addEventListener("change", () => { page.gaze(); page.showMove(); });
    byId("idle").addEventListener("change", (event) => { page.setIdle(event.target.checked); page.showMove(); });
  }

  listenToButtons() {
    const { page } = this;
    this.tools = {
      compare: () => this.showPhoto(byId("photo").hidden),
      background: () => this.nextBackground(),
      shot: () => page.shoot(),
      save: async () => saveBlob(new Blob([await page.bytes("glb")], { type: "model/gltf-binary" }), fileName("glb")),
      full: () => goFullScreen(),
      fold: () => this.fold(),
    };
    for (const name in this.tools) byId(name).addEventListener("click", this.tools[name]);
    byId("match").addEventListener("click", () => page.place({ ...HOME, ...page.about.camera }));
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.toLowerCase(), mode = ["splats", ...SURFACES][Number(key) - 1];
    const tool = { p: "compare", b: "background", s: "shot", f: "full", c: "fold" }[key];
    if (mode && this.page.modes.includes(mode)) this.page.show(mode);
    else if (tool && !byId(tool).hidden) this.tools[tool]();
    else if ([byId("view"), document.body].includes(event.target)) this.move(event);
  }

  move(event) {
    const { page } = this, pose = findPlace(page.camera);
    if (event.key === "ArrowLeft") pose.azimuth -= TURN;
    else if (event.key === "ArrowRight") pose.azimuth += TURN;
    else if (event.key === "ArrowUp") pose.elevation = Math.min(pose.elevation + TURN, 70);
    else if (event.key === "ArrowDown") pose.elevation = Math.max(pose.elevation - TURN, -55);
    else if (event.key === "+" || event.key === "=") pose.distance = Math.max(pose.distance / ZOOM, NEAREST);
    else if (event.key === "-") pose.distance = Math.min(pose.distance * ZOOM, FARTHEST);
    else if (event.key.toLowerCase() === "r") Object.assign(pose, HOME);
    else if (event.key === " ") page.turn(page.turning > 0 ? 0 : Infinity);
    else return;
    event.preventDefault();
    if (event.key !== " ") page.place(pose);
  }

  point(event) {
    this.page.pointer = event.pointerType === "touch" ? null : { x: event.clientX, y: event.clientY };
    this.page.gaze();
  }

  weigh(names, value) {
    const shown = this.page.weigh(names, value);
    this.panel.update();
    this.mark(null);
    return shown;
  }

  preset(name) {
    const shown = this.page.preset(name);
    this.panel.update();
    press("talk", this.page.face.talking);
    if (name !== "blink" && name !== "talk") this.mark(name);
    return shown;
  }

  mark(name) {
    for (const button of byId("presets").children) {
      const { preset } = button.dataset;
      if (preset !== "blink") button.ariaPressed = String(preset === "talk" ? this.page.face.talking : preset === name);
    }
  }

  nextBackground() {
    const names = Object.keys(BACKGROUNDS);
    this.page.setBackground(names[(names.indexOf(this.page.background) + 1) % names.length]);
  }

  showPhoto(on) {
    byId("photo").hidden = !on;
    press("compare", on);
  }

  fold() {
    const folded = document.querySelector("main").classList.toggle("folded");
    byId("fold").setAttribute("aria-expanded", String(!folded));
    this.page.changed();
  }
}

function press(name, value) {
  const button = byId(name) ?? document.querySelector(`[data-preset="${name}"]`);
  button.setAttribute("aria-pressed", String(Boolean(value)));
}

function goFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.().catch(() => {}); // the browser may refuse; nothing is lost
}
