// A photographer's studio: a dim room with soft boxes before and behind the head, and a key light that can be moved,
// with a rim light opposite.

const HOME = { azimuth: 0, elevation: 0, distance: 1.4 }; // degrees, metres
const TARGET_HEIGHT = -0.02; // metres: between the eyes and the chin
const FIELD = 18.8; // degrees: the field of view of the window's smaller side
const NARROW = 0.8; // width / height below which the width decides
const KEY = { azimuth: -38, elevation: 28 }; // where the key light stands at first
const RADIANS = Math.PI / 180;
const BACKGROUNDS = { grey: ["#85888c", "#4b4d50"], light: ["#ffffff", "#dcdcdc"], dark: ["#303236", "#121315"] };

function onSphere(azimuth, elevation, radius) {
  const a = azimuth * RADIANS, e = elevation * RADIANS;
  return new THREE.Vector3(Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)).multiplyScalar(radius);
}

// Light from all sides, from which reflections are computed.
function buildRoom() {
  const room = new THREE.Scene();
  const dome = new THREE.SphereGeometry(10, 32, 24), heights = dome.attributes.position, colours = [];
  for (let i = 0; i < heights.count; i++) {
    const up = heights.getY(i) / 10, light = up > 0 ? 0.4 + 0.5 * up : 0.4 + 0.34 * up;
    colours.push(light, light * 0.99, light * (up < 0 ? 0.94 : 1));
  }
  dome.setAttribute("color", new THREE.BufferAttribute(new Float32Array(colours), 3));
  room.add(new THREE.Mesh(dome, new THREE.MeshBasicMaterial({ side: THREE.BackSide, vertexColors: true })));
  for (const [azimuth, elevation, width, height, strength] of [
    [0, 24, 2.4, 2, 30], [150, 25, 1.4, 6, 10], [-150, 25, 1.4, 6, 10],
  ]) {
    const colour = new THREE.Color(strength, strength, strength);
    const box = new THREE.Mesh(
      new THREE.PlaneGeometry(width, height), new THREE.MeshBasicMaterial({ color: colour, side: THREE.DoubleSide }),
    );
    box.position.copy(onSphere(azimuth, elevation, 7));
    box.lookAt(0, 0, 0);
    room.add(box);
  }
  return room;
}

class Studio {
  constructor(canvas) {
    this.canvas = canvas;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, powerPreference: "high-performance" });
    this.renderer.toneMapping = THREE.NeutralToneMapping;
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = THREE.PCFShadowMap;
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(FIELD, 1, 0.05, 20);
    this.light = { ...KEY, strength: 1 };
    this.addLights();
    this.reflect();
    this.setBackground("grey");
    this.placeCamera(HOME);
  }

  addLights() {
    this.key = new THREE.DirectionalLight("#fff6ea", 1);
    this.rim = new THREE.DirectionalLight("#eaf2ff", 1);
    this.key.castShadow = true;
    Object.assign(this.key.shadow.camera, { left: -0.3, right: 0.3, top: 0.3, bottom: -0.36, near: 0.5, far: 3.5 });
    this.key.shadow.mapSize.set(1024, 1024);
    Object.assign(this.key.shadow, { bias: -0.0006, normalBias: 0.004, radius: 2, intensity: 0.8 });
    this.scene.add(this.key, this.key.target, this.rim);
    this.setLight({});
  }

  // Also after the graphics context was lost, with which the reflections went.
  reflect() {
    const maker = new THREE.PMREMGenerator(this.renderer);
    this.scene.environment = maker.fromScene(buildRoom(), 0.03).texture;
    maker.dispose();
  }

  setLight(light) {
    Object.assign(this.light, light);
    const { azimuth, elevation, strength } = this.light;
    this.key.position.copy(onSphere(azimuth, elevation, 2));
    this.rim.position.copy(onSphere(azimuth + 180, 40, 2));
    this.key.intensity = 3.8 * strength;
    this.rim.intensity = 1.2 * strength;
    this.scene.environmentIntensity = 0.3 * (0.25 + 0.75 * strength);
  }

  setBackground(name) {
    const [top, bottom] = BACKGROUNDS[name];
    const picture = document.createElement("canvas"), pen = picture.getContext("2d");
    Object.assign(picture, { width: 2, height: 256 });
    const fade = pen.createLinearGradient(0, 0, 0, 256);
    fade.addColorStop(0, top);
    fade.addColorStop(1, bottom);
    pen.fillStyle = fade;
    pen.fillRect(0, 0, 2, 256);
    this.scene.background?.dispose();
    this.scene.background = new THREE.CanvasTexture(picture);
    this.scene.background.colorSpace = THREE.SRGBColorSpace;
    this.background = name;
  }

  nextBackground() {
    const names = Object.keys(BACKGROUNDS);
    this.setBackground(names[(names.indexOf(this.background) + 1) % names.length]);
  }

  placeCamera({ azimuth, elevation, distance }) {
    const target = new THREE.Vector3(0, TARGET_HEIGHT, 0);
    this.camera.position.copy(onSphere(azimuth, elevation, distance)).add(target);
    this.camera.lookAt(target);
  }

  // Fit the picture to its place on the screen, with `share` of the full resolution.
  resize(share) {
    const width = Math.max(this.canvas.clientWidth, 1), height = Math.max(this.canvas.clientHeight, 1);
    const sharp = Math.min(devicePixelRatio || 1, 2) * share, aspect = width / height;
    const key = [width, height, sharp].join();
    if (key === this.size) return;
    this.size = key;
    this.renderer.setPixelRatio(sharp);
    this.renderer.setSize(width, height, false);
    this.camera.aspect = aspect;
    const wide = Math.max(NARROW / aspect, 1);
    this.camera.fov = 2 / RADIANS * Math.atan(Math.tan(FIELD / 2 * RADIANS) * wide);
    this.camera.updateProjectionMatrix();
  }
}
