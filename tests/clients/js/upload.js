// One upload by tus-js-client, told what to do by one JSON argument; prints what happened as one line of JSON.
//
//   file, endpoint      what goes where
//   options             passed to tus.Upload as they are
//   stream              give the client a stream, so that it cannot know the length beforehand
//   buffer              give the client the bytes, as a browser does with its File
//   slow                milliseconds between two blocks of a request body
//   abortAt             abort once this many bytes were sent, then resume with a second tus.Upload
//   storage             the file in which the URL of an unfinished upload is remembered
//   resume              resume what an earlier run left, as `storage` remembers it
//   fails               the upload is expected to fail; say how
//   terminateAt         abort once this many bytes were sent, and ask the server to forget the upload

import fs from 'node:fs'
import { PassThrough, Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import tus from 'tus-js-client'

const plan = JSON.parse(process.argv[2])
const size = fs.statSync(plan.file).size

function source() {
  if (plan.buffer) return fs.readFileSync(plan.file)
  const file = fs.createReadStream(plan.file)
  return plan.stream ? file.pipe(new PassThrough()) : file
}

// A loopback connection takes a whole file before anybody can abort; this one leaves time for it.
class SlowStack extends tus.DefaultHttpStack {
  createRequest(method, url) {
    const request = super.createRequest(method, url)
    const send = request.send.bind(request)
    request.send = (body) => send(body instanceof Readable || Buffer.isBuffer(body) ? slowed(body) : body)
    return request
  }
}

function slowed(body) {
  async function* blocks() {
    for await (const block of Buffer.isBuffer(body) ? pieces(body) : body) {
      yield block
      await sleep(plan.slow)
    }
  }
  return Object.assign(Readable.from(blocks()), { size: body.size ?? body.length })
}

function* pieces(buffer) {
  for (let at = 0; at < buffer.length; at += 65536) yield buffer.subarray(at, at + 65536)
}

function options(requests) {
  return {
    endpoint: plan.endpoint,
    retryDelays: [0, 100, 500, 1000],
    ...(plan.storage && { urlStorage: new tus.FileUrlStorage(plan.storage) }),
    ...(plan.stream && { uploadLengthDeferred: true }),
    ...(plan.slow && { httpStack: new SlowStack() }),
    ...plan.options,
    onAfterResponse(request, response) {
      requests.push({
        method: request.getMethod(),
        override: request.getHeader('X-HTTP-Method-Override') ?? null,
        offset: Number(request.getHeader('Upload-Offset') ?? -1),
        status: response.getStatus(),
      })
    },
  }
}

// Runs until the upload is finished, or, with `stopAt`, until so much was sent; says what was asked meanwhile.
async function run({ stopAt = Infinity, terminate = false, prepare = () => {} } = {}) {
  const requests = []
  let upload
  const stopped = await new Promise((resolve, reject) => {
    upload = new tus.Upload(source(), {
      ...options(requests),
      onError: error => reject(Object.assign(error, { requests })),
      onSuccess: () => resolve(false),
      onProgress(sent) {
        if (sent >= stopAt && sent < size) upload.abort(terminate).then(() => resolve(true), reject)
      },
    })
    Promise.resolve(prepare(upload)).then(() => upload.start(), reject)
  })
  if (stopped !== Number.isFinite(stopAt)) throw new Error('the upload was finished before it could be stopped')
  return { url: upload.url, requests }
}

async function remembered(upload) {
  const [earlier] = await upload.findPreviousUploads()
  upload.resumeFromPreviousUpload(earlier)
}

async function resumed() {
  await run({ stopAt: plan.abortAt })
  return run({ prepare: remembered })
}

async function main() {
  if (plan.terminateAt) return run({ stopAt: plan.terminateAt, terminate: true })
  if (plan.resume) return run({ prepare: remembered })
  return plan.abortAt ? resumed() : run()
}

function failure(error) {
  if (!plan.fails) throw error
  const answer = error.originalResponse
  return { status: answer?.getStatus(), body: answer?.getBody(), requests: error.requests }
}

// An upload that is never settled ends node with status 13, not with a result.
console.log(JSON.stringify(await main().catch(failure)))
