// Writes a model's weights again in 16 bits, for a package that should stay small.
//   node scripts/halve.mjs IN.safetensors OUT.safetensors                              Needs a build (npm run build).
import { SafetensorsFile, writeSafetensors } from "../dist/hub/safetensors.js";

const [from, to] = process.argv.slice(2);
if (!from || !to) {
  process.stderr.write("node scripts/halve.mjs IN.safetensors OUT.safetensors\n");
  process.exit(2);
}
const file = await SafetensorsFile.open(from);
const tensors = [...file.tensors].map(([key, { shape }]) => [key, { shape, data: () => file.read(key) }]);
await writeSafetensors(to, tensors, { dtype: "F16" });
await file.close();
