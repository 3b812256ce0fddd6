// The parts of the .glb file that expressions move, as Python's MovingMesh has them: without three.js, which would
// unpack every picture of the mesh, and in the units of the splats.

const ARRAYS = { 5121: Uint8Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array };

class GlbFile {
  constructor(buffer) {
    const length = new DataView(buffer).getUint32(12, true);
    this.tree = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, length)));
    this.buffer = buffer;
    this.body = 28 + length;
  }

  view(index, kind, count) {
    return new ARRAYS[kind](this.buffer, this.body + (this.tree.bufferViews[index].byteOffset ?? 0), count);
  }

  array(index, width) {
    const { bufferView, componentType, count } = this.tree.accessors[index];
    return this.view(bufferView, componentType, width * count);
  }

  // Where the middle of a node's own frame lies; what hangs on joints is in the world's.
  origin(node) {
    const { nodes } = this.tree, out = [0, 0, 0];
    let at = "skin" in node ? null : node;
    while (at) {
      (at.translation ?? []).forEach((value, i) => { out[i] += value; });
      const number = nodes.indexOf(at);
      at = nodes.find((other) => other.children?.includes(number));
    }
    return out;
  }
}

class MovingMesh {
  // `photo` has the weights of the photo's expression.
  constructor(buffer, names, photo) {
    const file = new GlbFile(buffer), { nodes, meshes } = file.tree;
    Object.assign(this, { photo, targets: [], eyes: [] });
    const points = [], triangles = [];
    let first = 0;
    for (const name of names) {
      const node = nodes.find((other) => other.name === name && "mesh" in other), mesh = meshes[node.mesh];
      const primitive = mesh.primitives[0], place = file.array(primitive.attributes.POSITION, 3), origin = file.origin(node);
      const turns = name.startsWith("eye_");
      points.push(place.map((value, i) => (value + origin[i % 3]) / METRES));
      triangles.push(Uint32Array.from(file.array(primitive.indices, 1), (corner) => corner + first));
      (primitive.targets ?? []).forEach(({ POSITION }, i) => {
        this.addTarget(file, mesh.extras.targetNames[i], file.tree.accessors[POSITION].sparse, { first, turns });
      });
      if (turns) {
        const end = first + place.length / 3, pivot = origin.map((value) => value / METRES);
        this.eyes.push({ first, end, pivot, sight: node.extras?.sight });
      }
      first += place.length / 3;
      if (name === "skin") this.skin = first; // it comes first
    }
    this.rest = joinArrays(Float32Array, points);
    this.triangles = joinArrays(Uint32Array, triangles);
    for (const { name, rows, moves } of this.targets) this.add(this.rest, rows, moves, photo[name]);
    this.pivot = (nodes.find(({ name }) => name === "head")?.translation ?? [0, 0, 0]).map((value) => value / METRES);
  }

  addTarget(file, name, sparse, { first, turns }) {
    if (!sparse) return;
    const { count, indices, values } = sparse;
    const rows = Uint32Array.from(file.view(indices.bufferView, indices.componentType, count), (row) => row + first);
    this.targets.push({ name, turns, rows, moves: file.view(values.bufferView, 5126, 3 * count).map((v) => v / METRES) });
  }

  add(out, rows, moves, weight) {
    for (let k = 0; k < rows.length; k++) {
      for (let i = 0; i < 3; i++) out[3 * rows[k] + i] += weight * moves[3 * k + i];
    }
  }

  // All vertices with weights (unit, whether on an eyeball) and turned eyes; exactly those of the photo for its weights.
  pose(weigh, { yaw, pitch } = { yaw: 0, pitch: 0 }) {
    const out = this.rest.slice();
    for (const { name, turns, rows, moves } of this.targets) {
      const change = weigh(name, turns) - this.photo[name];
      if (change !== 0) this.add(out, rows, moves, change);
    }
    if (yaw === 0 && pitch === 0) return out;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    for (const { first, end, pivot } of this.eyes) {
      for (let v = 3 * first; v < 3 * end; v += 3) {
        const x = out[v] - pivot[0], y = out[v + 1] - pivot[1], z = out[v + 2] - pivot[2];
        const up = cp * y - sp * z, ahead = sp * y + cp * z;
        out[v] = pivot[0] + cy * x + sy * ahead;
        out[v + 1] = pivot[1] + up;
        out[v + 2] = pivot[2] - sy * x + cy * ahead;
      }
    }
    return out;
  }
}

function joinArrays(Kind, parts) {
  const out = new Kind(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { out.set(part, at); at += part.length; }
  return out;
}
