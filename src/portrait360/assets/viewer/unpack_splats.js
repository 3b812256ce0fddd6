// Splats as html_viewer's Python packs them: the same layout is written there.

// The three smaller components in 10 bits each, and in the highest two bits which of w x y z was left out.
function readQuaternion(packed, q) {
  const left = packed >>> 30;
  let rest = 1;
  for (let i = 3, shift = 0; i >= 0; i--) {
    if (i === left) continue;
    q[i] = (((packed >>> shift) & 1023) / 1023 * 2 - 1) * Math.SQRT1_2;
    rest -= q[i] * q[i];
    shift += 10;
  }
  q[left] = Math.sqrt(Math.max(rest, 0));
}

// R diag(variances) R^T as xx, xy, xz, yy, yz, zz.
function writeCovariance([w, x, y, z], [a, b, c], out, at) {
  const xx = 1 - 2 * (y * y + z * z), yx = 2 * (x * y + w * z), zx = 2 * (x * z - w * y);
  const xy = 2 * (x * y - w * z), yy = 1 - 2 * (x * x + z * z), zy = 2 * (y * z + w * x);
  const xz = 2 * (x * z + w * y), yz = 2 * (y * z - w * x), zz = 1 - 2 * (x * x + y * y);
  out[at] = xx * xx * a + xy * xy * b + xz * xz * c;
  out[at + 1] = xx * yx * a + xy * yy * b + xz * yz * c;
  out[at + 2] = xx * zx * a + xy * zy * b + xz * zz * c;
  out[at + 3] = yx * yx * a + yy * yy * b + yz * yz * c;
  out[at + 4] = yx * zx * a + yy * zy * b + yz * zz * c;
  out[at + 5] = zx * zx * a + zy * zy * b + zz * zz * c;
}

function unpackSplats({ count, low, high, logs, steepest = 0 }, buffer) {
  const rotations = new Uint32Array(buffer, 0, count), steps = new Uint16Array(buffer, 4 * count, 3 * count);
  const colours = new Uint8Array(buffer, 10 * count, 4 * count), sizes = new Uint8Array(buffer, 14 * count, 3 * count);
  const slopes = steepest > 0 ? new Int8Array(buffer, 17 * count, 9 * count) : null;
  const variances = Float64Array.from({ length: 256 }, (_, i) => Math.exp(2 * (logs[0] + i / 255 * (logs[1] - logs[0]))));
  const means = new Float32Array(3 * count), covariances = new Float32Array(6 * count);
  const quaternion = [0, 0, 0, 0], axes = [0, 0, 0];
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < 3; i++) {
      means[3 * n + i] = low[i] + steps[3 * n + i] / 65535 * (high[i] - low[i]);
      axes[i] = variances[sizes[3 * n + i]];
    }
    readQuaternion(rotations[n], quaternion);
    writeCovariance(quaternion, axes, covariances, 6 * n);
  }
  return { count, means, covariances, colours, slopes, steepest, shares: null };
}
