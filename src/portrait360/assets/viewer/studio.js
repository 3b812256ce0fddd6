// A photographer's studio: a dim room with soft boxes before and behind the head, and a key light that can be moved,
// with a rim light opposite.

const KEY = { azimuth: -38, elevation: 28 }; // degrees: where the key light stands at first

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
  constructor(canvas, background, light) {
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, powerPreference: "high-performance" });
    this.renderer.toneMapping = THREE.NeutralToneMapping;
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = THREE.PCFShadowMap;
    this.scene = new THREE.Scene();
    this.light = { ...light };
    this.addLights();
    this.reflect();
    this.setBackground(background);
  }

  addLights() {
    this.key = new THREE.DirectionalLight("#fff6ea", 1);
    this.rim = new THREE.DirectionalLight("#eaf2ff", 1);
    this.key.castShadow = true;
    Object.assign(this.key.shadow.camera, { left: -0.3, right: 0.3, top: 0.3, bottom: -0.36, near: 0.5, far: 3.5 });
    this.key.shadow.mapSize.set(1024, 1024);
    Object.assign(this.key.shadow, { bias: -0.0006, normalBias: 0.004, radius: 2, intensity: 0.6 });
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
    this.key.intensity = 2.4 * strength;
    this.rim.intensity = 0.8 * strength;
    this.scene.environmentIntensity = 0.56 * (0.4 + 0.6 * strength);
  }

  // `background` is a canvas.
  setBackground(background) {
    this.scene.background?.dispose();
    this.scene.background = new THREE.CanvasTexture(background);
    this.scene.background.colorSpace = THREE.SRGBColorSpace;
  }
}
