// A photographer's studio: a dim room with soft boxes before and behind the head, and a key light that can be moved,
// with a rim light opposite. Until it is moved, a head whose file knows the photo's light stands in that one.

const KEY = { azimuth: -38, elevation: 28 }; // degrees: where the key light stands at first

// Light from all sides, from which reflections are computed; `light` gives the colour of each direction.
function buildDome(light) {
  const room = new THREE.Scene();
  const dome = new THREE.SphereGeometry(10, 32, 24), places = dome.attributes.position, colours = [];
  for (let i = 0; i < places.count; i++) colours.push(...light(places.getX(i) / 10, places.getY(i) / 10, places.getZ(i) / 10));
  dome.setAttribute("color", new THREE.BufferAttribute(new Float32Array(colours), 3));
  room.add(new THREE.Mesh(dome, new THREE.MeshBasicMaterial({ side: THREE.BackSide, vertexColors: true })));
  return room;
}

// Spherical harmonics of the light that a white surface sends back, as light that comes in.
function showAmbient(ambient) {
  const band = [1, 2 / 3, 2 / 3, 2 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4];
  return (x, y, z) => {
    const basis = [
      0.28209479, 0.48860251 * y, 0.48860251 * z, 0.48860251 * x, 1.0925484 * x * y, 1.0925484 * y * z,
      0.31539157 * (3 * z * z - 1), 1.0925484 * x * z, 0.54627422 * (x * x - y * y),
    ];
    return [0, 1, 2].map((c) => Math.max(basis.reduce((sum, value, i) => sum + value / band[i] * ambient[i][c], 0), 0));
  };
}

function buildRoom() {
  const room = buildDome((x, up) => {
    const light = up > 0 ? 0.4 + 0.5 * up : 0.4 + 0.34 * up;
    return [light, light * 0.99, light * (up < 0 ? 0.94 : 1)];
  });
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
  // `photo` is the light of the photo, if the file knows it: `ambient` and `lamps`.
  constructor(canvas, background, light, photo) {
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, powerPreference: "high-performance" });
    this.renderer.toneMapping = THREE.NeutralToneMapping;
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = THREE.PCFShadowMap;
    this.scene = new THREE.Scene();
    this.light = { ...light };
    this.photo = photo;
    this.lit = true;
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
    this.lamps = (this.photo?.lamps ?? []).map(({ direction, colour }) => {
      const lamp = new THREE.DirectionalLight(new THREE.Color(...colour), 1);
      lamp.position.set(...direction);
      return lamp;
    });
    this.scene.add(this.key, this.key.target, this.rim, ...this.lamps);
    this.setLight({});
  }

  // Also after the graphics context was lost, with which the reflections went.
  reflect() {
    const maker = new THREE.PMREMGenerator(this.renderer);
    this.room = maker.fromScene(buildRoom(), 0.03).texture;
    this.sky = this.photo && maker.fromScene(buildDome(showAmbient(this.photo.ambient)), 0.03).texture;
    maker.dispose();
    this.setLight({});
  }

  // Whether the head is seen as it is, rather than as clay.
  show(lit) {
    this.lit = lit;
    this.setLight({});
  }

  setLight(light) {
    Object.assign(this.light, light);
    const { azimuth, elevation, strength, moved } = this.light, own = this.photo && this.lit && !moved;
    this.key.position.copy(onSphere(azimuth, elevation, 2));
    this.rim.position.copy(onSphere(azimuth + 180, 40, 2));
    this.key.intensity = 2.4 * strength;
    this.rim.intensity = 0.8 * strength;
    for (const lamp of this.lamps) Object.assign(lamp, { visible: own, intensity: Math.PI * strength });
    this.key.visible = this.rim.visible = !own;
    this.scene.environment = own ? this.sky : this.room;
    this.scene.environmentIntensity = (own ? 1 : 0.56) * (0.4 + 0.6 * strength);
  }

  // `background` is a canvas.
  setBackground(background) {
    this.scene.background?.dispose();
    this.scene.background = new THREE.CanvasTexture(background);
    this.scene.background.colorSpace = THREE.SRGBColorSpace;
  }
}
