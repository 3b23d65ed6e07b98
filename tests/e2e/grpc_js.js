// node grpc_js.js TARGET PATH COUNT: that many unary calls at once, an unknown method, a call out of time.
"use strict";
const grpc = require("@grpc/grpc-js");
const [target, path, count] = process.argv.slice(2);
const client = new grpc.Client(target, grpc.credentials.createInsecure());
const same = (octets) => octets;

function call(path, deadline) {
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, same, same, Buffer.alloc(0), new grpc.Metadata(), { deadline }, (error, answer) =>
      resolve(error ? { code: error.code } : { code: 0, answer: answer.toString() }));
  });
}

async function main() {
  const later = () => Date.now() + 20000;
  const calls = await Promise.all(Array.from({ length: Number(count) }, () => call(path, later())));
  const unknown = await call("/matrix.v1.Matrix/Nothing", later());
  const late = await call(path, Date.now() - 1);
  console.log(JSON.stringify({ calls, unknown, late }));
  client.close();
}

main();
