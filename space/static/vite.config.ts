import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

// ONNX Runtime starts threads from its own file, so its files are copied unchanged and not bundled.
const runtime = [
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort.webgpu.min.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
];

const copyRuntime: Plugin = {
  name: "copy-onnxruntime",
  closeBundle() {
    for (const file of runtime) cpSync(`node_modules/onnxruntime-web/dist/${file}`, `dist/ort/${file}`);
  },
};

/** Lists the packages that the page is built from, with their licences. */
const listLicences: Plugin = {
  name: "list-licences",
  closeBundle() {
    const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
    const texts = Object.entries<{ version: string; license?: string; dev?: boolean }>(packages)
      .filter(([folder, { dev }]) => folder && !dev)
      .map(([folder, { version, license }]) => {
        const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
        const text = file ? `\n${readFileSync(`${folder}/${file}`, "utf8")}` : "";
        return `${folder.replace("node_modules/", "")} ${version}: ${license ?? "see below"}\n${text}`;
      });
    writeFileSync("dist/licences.txt", texts.join("\n----\n\n"));
  },
};

export default defineConfig({
  base: "./",
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: "es" },
  plugins: [copyRuntime, listLicences],
});
