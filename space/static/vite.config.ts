import { cpSync } from "node:fs";
import { defineConfig } from "vite";

// ONNX Runtime starts threads from its own file, so its files are copied as they are and not bundled.
const runtime = [
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort.webgpu.min.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
];

export default defineConfig({
  base: "./",
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, license: { fileName: "licenses.md" } },
  worker: { format: "es" },
  plugins: [
    {
      name: "copy-onnxruntime",
      closeBundle() {
        for (const file of runtime) cpSync(`node_modules/onnxruntime-web/dist/${file}`, `dist/ort/${file}`);
      },
    },
  ],
});
