// @tus/server with its file store: node node_peer.mjs <where it is installed> <port> <directory>
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [installed, port, directory] = process.argv.slice(2);
const require = createRequire(path.join(installed, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { Server } = await load("@tus/server");
const { FileStore } = await load("@tus/file-store");
new Server({ path: "/files", datastore: new FileStore({ directory }), relativeLocation: true })
  .listen({ host: "127.0.0.1", port: Number(port) });
