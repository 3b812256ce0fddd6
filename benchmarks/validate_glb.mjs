// What the Khronos validator says of .glb files: `npm install gltf-validator`, then
// `NODE_PATH=node_modules node benchmarks/validate_glb.mjs head.glb ...`; ends with 1 where a file has an error.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const validator = createRequire(import.meta.url)("gltf-validator");
let failed = false;
for (const path of process.argv.slice(2)) {
  const { issues, info } = await validator.validateBytes(new Uint8Array(readFileSync(path)));
  const { numErrors, numWarnings, numInfos, numHints, messages } = issues;
  failed ||= numErrors > 0;
  console.log(JSON.stringify({ path, numErrors, numWarnings, numInfos, numHints, triangles: info?.totalTriangleCount }));
  for (const { code, message, pointer } of messages) console.log(`  ${code} ${pointer ?? ""}: ${message}`);
}
process.exit(failed ? 1 : 0);
