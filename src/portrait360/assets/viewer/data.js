// What viewer.py packed, unpacked: the same layout is written there.

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// 16-bit steps between the corners of a box -> places.
function placesOf(steps, low, high) {
  const width = low.length;
  const places = new Float32Array(steps.length);
  for (let i = 0; i < steps.length; i++) {
    const axis = i % width;
    places[i] = low[axis] + (steps[i] / 65535) * (high[axis] - low[axis]);
  }
  return places;
}

// The three smaller components in 10 bits each, and in the highest two bits which of w x y z was left out.
function quaternionOf(packed) {
  const left = packed >>> 30;
  const q = [0, 0, 0, 0];
  let rest = 1;
  for (let i = 3, shift = 0; i >= 0; i--) {
    if (i === left) continue;
    q[i] = (((packed >>> shift) & 1023) / 1023 * 2 - 1) * Math.SQRT1_2;
    rest -= q[i] * q[i];
    shift += 10;
  }
  q[left] = Math.sqrt(Math.max(rest, 0));
  return q;
}

// R diag(scales^2) R^T as xx, xy, xz, yy, yz, zz.
function covarianceOf([w, x, y, z], scales, out, at) {
  const axes = [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
  let k = at;
  for (let i = 0; i < 3; i++) {
    for (let j = i; j < 3; j++) {
      out[k++] = axes.reduce((sum, axis, s) => sum + axis[i] * axis[j] * scales[s] * scales[s], 0);
    }
  }
}

function unpackSplats(packed) {
  const { count, low, high, logs } = packed;
  const bytes = bytesOf(packed.data);
  const rotations = new Uint32Array(bytes.buffer, 0, count);
  const steps = new Uint16Array(bytes.buffer, 4 * count, 3 * count);
  const colours = bytes.subarray(10 * count, 14 * count);
  const sizes = bytes.subarray(14 * count, 17 * count);
  const covariances = new Float32Array(6 * count);
  for (let n = 0; n < count; n++) {
    const scales = [0, 1, 2].map((i) => Math.exp(logs[0] + (sizes[3 * n + i] / 255) * (logs[1] - logs[0])));
    covarianceOf(quaternionOf(rotations[n]), scales, covariances, 6 * n);
  }
  return { count, means: placesOf(steps, low, high), covariances, colours };
}

function unpackMesh(packed) {
  const { vertices, triangles, low, high } = packed;
  const bytes = bytesOf(packed.data);
  const wide = vertices > 65536;
  const start = (wide ? 4 : 2) * 3 * triangles;
  const Indices = wide ? Uint32Array : Uint16Array;
  return {
    places: placesOf(new Uint16Array(bytes.buffer, start, 3 * vertices), low, high),
    uv: new Uint16Array(bytes.buffer, start + 6 * vertices, 2 * vertices),
    triangles: new Indices(bytes.buffer, 0, 3 * triangles),
    texture: packed.texture,
  };
}
