// Where one stands around the head, in metres and degrees.

const HOME = { azimuth: 0, elevation: 0, distance: 1.4 };
const TURNED = 15, PROFILE = 95; // degrees: a head that its photo shows between these is first seen from there
const NEAREST = 0.45, FARTHEST = 4;
const TARGET_HEIGHT = -0.02; // between the eyes and the chin
const FIELD = 18.8; // the field of view of the window's smaller side
const NARROW = 0.8; // width / height below which the width decides
const RADIANS = Math.PI / 180;

function onSphere(azimuth, elevation, radius) {
  const a = azimuth * RADIANS, e = elevation * RADIANS;
  return new THREE.Vector3(Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)).multiplyScalar(radius);
}

// Where one stands at first: before the face, or, if its photo shows it turned, where it looks most like the photo.
function findStart(photo) {
  const azimuth = ((photo?.azimuth ?? 0) + 540) % 360 - 180, turn = Math.abs(azimuth);
  return turn > TURNED && turn < PROFILE ? { ...HOME, azimuth } : HOME;
}

function makeCamera(place) {
  const camera = new THREE.PerspectiveCamera(FIELD, 1, 0.05, 20);
  placeCamera(camera, place);
  return camera;
}

function placeCamera(camera, { azimuth, elevation, distance }) {
  const target = new THREE.Vector3(0, TARGET_HEIGHT, 0);
  camera.position.copy(onSphere(azimuth, elevation, distance)).add(target);
  camera.lookAt(target);
}

function findPlace(camera) {
  const { x, y, z } = camera.position, up = y - TARGET_HEIGHT, distance = Math.hypot(x, up, z);
  return { azimuth: Math.atan2(x, z) / RADIANS, elevation: Math.asin(up / distance) / RADIANS, distance };
}

function fitCamera(camera, width, height) {
  camera.aspect = width / height;
  const wide = Math.max(NARROW / camera.aspect, 1);
  camera.fov = 2 / RADIANS * Math.atan(Math.tan(FIELD / 2 * RADIANS) * wide);
  camera.updateProjectionMatrix();
}
