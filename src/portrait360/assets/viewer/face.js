// What the face does: expression units by name on every mesh that has them, eyes, blinks, breath and speech.

const SPEED = 11; // of expressions, in 1/s
const MOST_YAW = 23 * RADIANS, MOST_PITCH = 15 * RADIANS; // of the eyes
const LOOK_YAW = 30 * RADIANS, LOOK_PITCH = 25 * RADIANS; // of eyes whose eyeLook units are 1
const BLINK = 0.26; // seconds
const SMILING = 0.25; // weight of mouthSmile from which the photo shows a smile
const PARTED = 0.35; // least weight of jawOpen for that of tongueOut
const BREATH = { shoulders: 0.0014, nod: 0.012, turn: 0.022, tilt: 0.008 }; // metres, radians

const PRESETS = {
  neutral: {},
  smile: { mouthSmile: 0.8, cheekSquint: 0.45, eyeSquint: 0.25, mouthDimple: 0.2, mouthUpperUp: 0.25 },
  surprise: { browInnerUp: 0.85, browOuterUp: 0.75, eyeWide: 0.75, jawOpen: 0.4, mouthFunnel: 0.12 },
};
const SOUNDS = {
  a: { jawOpen: 0.38, mouthLowerDown: 0.1, mouthUpperUp: 0.12 },
  e: { jawOpen: 0.16, mouthStretch: 0.25, mouthSmile: 0.15, mouthUpperUp: 0.12 },
  o: { jawOpen: 0.26, mouthFunnel: 0.45 },
  u: { jawOpen: 0.1, mouthPucker: 0.6, mouthFunnel: 0.2 },
  m: { mouthPress: 0.3, mouthRollUpper: 0.15, mouthRollLower: 0.15 },
  f: { jawOpen: 0.07, mouthRollLower: 0.35, mouthUpperUp: 0.15 },
  s: { jawOpen: 0.07, mouthStretch: 0.18, mouthLowerDown: 0.12, mouthUpperUp: 0.2 },
  l: { jawOpen: 0.2, mouthUpperUp: 0.1, tongueOut: 0.04 },
  " ": {},
};
const SPEECH = "ma lo ese fumola  sabelo mu  aso le fima  "; // no language, but lips as of one
const SOUND = 0.13; // seconds a sound

// Where eyes look that look along this way: to the left, and down.
function findTurn(x, y, z) {
  return { yaw: Math.atan2(x, Math.max(z, 0.02)), pitch: -Math.atan2(y, Math.max(Math.hypot(x, z), 0.02)) };
}

// Weights of names without a side go to both sides.
function bothSides(weights, names) {
  const out = {};
  for (const name of names) {
    const plain = name.replace(/(Left|Right)$/, "");
    out[name] = weights[name] ?? weights[plain] ?? 0;
  }
  return out;
}

class Face {
  // `photo` has the photo's weights of all units by name.
  constructor(photo, calm) {
    this.photo = photo;
    this.names = Object.keys(photo);
    [this.meshes, this.eyes] = [[], []];
    this.calm = calm; // expressions change at once
    this.wanted = { ...photo };
    this.shown = { ...photo };
    this.gaze = { yaw: 0, pitch: 0 };
    this.look = { yaw: 0, pitch: 0 }; // where the eyes want to go
    this.sockets = []; // where the eyes of bound splats lie
    this.sight = { yaw: 0, pitch: 0 }; // where the photo's eyes look
    this.sway = STILL;
    Object.assign(this, { talking: false, idle: false, time: 0, blinkAt: 2.5, blinkBegan: -1, spoken: 0 });
  }

  // Move this scene's meshes from now on.
  attach(root) {
    root.traverse((mesh) => { if (mesh.morphTargetDictionary) this.meshes.push(mesh); });
    [this.head, this.shoulders] = ["head", "shoulders"].map((name) => root.getObjectByName(name));
    this.eyes = ["eye_left", "eye_right"].map((name) => root.getObjectByName(name)).filter(Boolean);
    this.eyes.forEach((eye) => { eye.rotation.order = "YXZ"; });
    this.begin(this.eyes.map((eye) => eye.userData.sight));
    this.step(0);
  }

  // Move splats that hang on this mesh from now on.
  bind(mesh) {
    this.sockets = mesh.eyes.map(({ pivot }) => new THREE.Vector3(...pivot).multiplyScalar(METRES));
    this.begin(mesh.eyes.map(({ sight }) => sight));
    this.step(0);
  }

  // Eyes turn from where they look in the photo, each a little to the other's side.
  begin(sights) {
    const sum = [0, 0, 0];
    for (const sight of sights) sight?.forEach((value, i) => { sum[i] += value; });
    if (sum.some((value) => value !== 0)) this.sight = findTurn(...sum);
  }

  preset(name) {
    if (name === "blink") this.blink();
    else if (name === "talk") this.talk(!this.talking);
    else this.wanted = name === "photo" ? { ...this.photo } : bothSides(PRESETS[name], this.names);
    if (name === "smile") this.keepSmile();
  }

  // A face that smiles in the photo does not smile less.
  keepSmile() {
    if (Math.max(this.photo.mouthSmileLeft ?? 0, this.photo.mouthSmileRight ?? 0) < SMILING) return;
    for (const name of this.names) this.wanted[name] = Math.max(this.wanted[name], this.photo[name]);
  }

  talk(on) {
    this.talking = on;
    this.spoken = 0;
  }

  blink() {
    this.blinkBegan = this.time;
  }

  // True while something still moves.
  step(seconds) {
    this.time += seconds;
    const eased = this.calm ? 1 : 1 - Math.exp(-SPEED * seconds);
    const talk = this.sound(seconds);
    let moving = this.idle || this.talking;
    for (const name of this.names) {
      const spoken = talk && /^(jaw|mouth|tongue)/.test(name);
      const goal = spoken ? 0.35 * this.wanted[name] + talk[name] : this.wanted[name], way = goal - this.shown[name];
      this.shown[name] += Math.abs(way) < 0.002 ? way : way * (talk ? 1 - Math.exp(-16 * seconds) : eased);
      moving ||= Math.abs(way) >= 0.002;
    }
    for (const axis of ["yaw", "pitch"]) {
      const way = this.look[axis] - this.gaze[axis];
      this.gaze[axis] += Math.abs(way) < 0.002 ? way : way * (this.calm ? 1 : 1 - Math.exp(-18 * seconds));
      moving ||= Math.abs(way) >= 0.002;
    }
    const lid = this.lids();
    this.breathe();
    this.apply(lid);
    return moving || lid > 0;
  }

  sound(seconds) {
    if (!this.talking) return null;
    this.spoken += seconds;
    const letters = { b: "m", i: "e" }, letter = SPEECH[Math.floor(this.spoken / SOUND) % SPEECH.length];
    return bothSides(SOUNDS[letters[letter] ?? letter] ?? {}, this.names);
  }

  // How far a blink has closed the lids.
  lids() {
    if (this.idle && this.time > this.blinkAt) {
      this.blink();
      const irregular = Math.abs(Math.sin(this.blinkAt * 12.9898) * 43758.5453) % 1;
      this.blinkAt = this.time + 2 + 4 * irregular;
    }
    const since = (this.time - this.blinkBegan) / BLINK;
    if (this.blinkBegan < 0 || since < 0 || since >= 1) return 0;
    if (since < 0.35) return Math.sin(since / 0.35 * Math.PI / 2);
    return since < 0.45 ? 1 : Math.cos((since - 0.45) / 0.55 * Math.PI / 2);
  }

  breathe() {
    const { time } = this, strength = this.idle ? 1 : 0, { shoulders, nod, turn, tilt } = BREATH;
    const talk = this.talking ? 1.6 : 1;
    const lift = strength * shoulders * Math.sin(time * 1.5);
    const x = strength * talk * nod * (0.6 * Math.sin(time * 0.83) + 0.4 * Math.sin(time * 1.5 + 0.6));
    const y = strength * talk * turn * (0.7 * Math.sin(time * 0.37) + 0.3 * Math.sin(time * 0.91 + 1));
    const z = strength * talk * tilt * Math.sin(time * 0.53 + 2);
    this.sway = { lift: lift / METRES, turn: [0, z, -y, -z, 0, x, y, -x, 0] }; // of angles that small
    if (this.shoulders) this.shoulders.position.y = lift;
    this.head?.rotation.set(x, y, z);
  }

  // Weights that a mouth can have: `mouthClose` closes what the jaw has opened, and a tongue comes out between parted teeth.
  possible() {
    const { photo } = this, out = { ...this.shown };
    if (out.tongueOut > photo.tongueOut) out.jawOpen = Math.max(out.jawOpen ?? 0, PARTED * out.tongueOut);
    if (out.mouthClose > photo.mouthClose) {
      out.mouthClose = Math.min(out.mouthClose, Math.max(out.jawOpen ?? 0, photo.mouthClose));
    }
    return out;
  }

  apply(lid) {
    const { yaw, pitch } = this.gaze;
    this.possibly = this.possible();
    this.lid = lid;
    this.led = { // lids follow the eyes
      eyeLookUp: Math.max(-pitch, 0) / LOOK_PITCH, eyeLookDown: Math.max(pitch, 0) / LOOK_PITCH,
      eyeLookOutLeft: Math.max(yaw, 0) / LOOK_YAW, eyeLookInLeft: Math.max(-yaw, 0) / LOOK_YAW,
      eyeLookOutRight: Math.max(-yaw, 0) / LOOK_YAW, eyeLookInRight: Math.max(yaw, 0) / LOOK_YAW,
    };
    for (const mesh of this.meshes) {
      const turns = this.eyes.includes(mesh);
      for (const name in mesh.morphTargetDictionary) {
        mesh.morphTargetInfluences[mesh.morphTargetDictionary[name]] = this.weigh(name, turns);
      }
    }
    for (const eye of this.eyes) eye.rotation.set(pitch, yaw, 0);
  }

  // The weight of a unit at this moment, on an eyeball, which `turns` by itself, or on all else.
  weigh(name, turns) {
    const { lid, led } = this;
    let weight = this.possibly[name];
    if (name.startsWith("eyeBlink")) weight = Math.max(weight, lid);
    else if (/^eye(Wide|Squint)/.test(name)) weight *= 1 - lid;
    else if (!turns) weight += led[name] ?? led[name.replace(/(Left|Right)$/, "")] ?? 0;
    return Math.min(weight, 1);
  }

  // Turn the eyes to a point (world); they stay within what eyes can do.
  lookAt(point) {
    const places = this.eyes.length ? this.eyes.map((eye) => eye.getWorldPosition(new THREE.Vector3())) : this.sockets;
    if (!places.length) return;
    const middle = new THREE.Vector3();
    for (const place of places) middle.add(place);
    const way = point.clone().sub(middle.divideScalar(places.length));
    const wanted = findTurn(way.x, way.y, way.z);
    for (const [axis, usual] of [["yaw", MOST_YAW], ["pitch", MOST_PITCH]]) {
      const most = Math.max(usual, Math.abs(this.sight[axis]));
      this.look[axis] = Math.max(-most, Math.min(most, wanted[axis])) - this.sight[axis];
    }
  }

  lookAhead() {
    this.look = { yaw: 0, pitch: 0 };
  }
}
