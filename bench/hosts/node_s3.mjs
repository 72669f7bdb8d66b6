// @tus/server with its store for S3: node node_s3.mjs <where it is installed> <port> <endpoint> <bucket>
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [installed, port, endpoint, bucket] = process.argv.slice(2);
const require = createRequire(path.join(installed, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { Server } = await load("@tus/server");
const { S3Store } = await load("@tus/s3-store");
const s3ClientConfig = {
  bucket, endpoint, region: process.env.AWS_REGION, forcePathStyle: true,
  credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY },
};
new Server({ path: "/files", datastore: new S3Store({ partSize: 8 << 20, s3ClientConfig }), relativeLocation: true })
  .listen({ host: "127.0.0.1", port: Number(port) });
