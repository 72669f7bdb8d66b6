// A film is watched while it is uploaded. Run by tests/following/test_film.py: node film.js NAME PLAN
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { play, until } from './world.js'

const TUS = { 'Tus-Resumable': '1.0.0' }
const SECONDS = 10

/** A film that the browser makes: a bar that moves. */
async function film (page) {
  const text = await page.evaluate(async seconds => {
    const canvas = document.createElement('canvas')
    canvas.width = 320; canvas.height = 180
    const pen = canvas.getContext('2d')
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/webm;codecs=vp8', videoBitsPerSecond: 2e6 })
    const blobs = []
    recorder.ondataavailable = event => blobs.push(event.data)
    const stopped = new Promise(resolve => { recorder.onstop = resolve })
    recorder.start(200)
    const began = performance.now()
    while (performance.now() - began < seconds * 1000) {
      for (let i = 0; i < 200; i++) {
        pen.fillStyle = `hsl(${Math.random() * 360} 90% 50%)`
        pen.fillRect(Math.random() * 320, Math.random() * 180, 20, 20)
      }
      await new Promise(resolve => setTimeout(resolve, 40))
    }
    recorder.stop()
    await stopped
    const bytes = new Uint8Array(await new Blob(blobs).arrayBuffer())
    let text = ''
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768))
    return btoa(text)
  }, SECONDS)
  return Buffer.from(text, 'base64')
}

/** One upload, as a client makes it that is cut. */
class Upload {
  constructor (server, content) { Object.assign(this, { server, content }) }

  get url () { return `${this.server.origin}${this.path}` }

  async create () {
    const headers = { ...TUS, 'Upload-Length': String(this.content.length), 'Upload-Metadata': `filetype ${btoa('video/webm')}` }
    const answer = await fetch(`${this.server.origin}/files`, { method: 'POST', headers })
    this.path = new URL(answer.headers.get('location'), this.server.origin).pathname
  }

  async offset () {
    const answer = await fetch(this.url, { method: 'HEAD', headers: TUS })
    return Number(answer.headers.get('upload-offset'))
  }

  async send (end) {
    const offset = await this.offset()
    const headers = { ...TUS, 'Upload-Offset': String(offset), 'Content-Type': 'application/offset+octet-stream' }
    const answer = await fetch(this.url, { method: 'PATCH', headers, body: this.content.subarray(offset, end) })
    assert.equal(answer.status, 204)
  }

  /** A request that announces all of the rest and sends as much; what is returned breaks it off. */
  async begin (end) {
    const offset = await this.offset()
    const socket = net.connect(this.server.port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(`PATCH ${this.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: ${offset}\r\n` +
      `Content-Type: application/offset+octet-stream\r\nContent-Length: ${this.content.length - offset}\r\n\r\n`)
    socket.write(this.content.subarray(offset, end))
    return () => socket.destroy()
  }
}

/** A page elsewhere that shows the film. */
async function cinema (page, url) {
  const server = http.createServer((_, answer) => {
    answer.setHeader('Content-Type', 'text/html')
    answer.end(`<video src="${url}" muted></video>`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  await page.goto(`http://127.0.0.1:${server.address().port}/`, { waitUntil: 'domcontentloaded' })
  server.unref()
  await page.evaluate(() => { document.querySelector('video').play() }) // autoplay would wait for more
}

const time = page => page.evaluate(() => document.querySelector('video').currentTime)
/** How much of the film the browser has, in seconds. */
const has = page => page.evaluate(() => { const { buffered } = document.querySelector('video'); return buffered.length ? buffered.end(buffered.length - 1) : 0 })

export const scenarios = {
  async 'a film plays while it is uploaded through two cuts and a kill of the server' (world) {
    const visit = await world.begin()
    const { page } = visit
    const content = await film(page)
    const at = part => Math.floor(content.length * part)
    const upload = new Upload(world.server, content)
    await upload.create()

    await upload.send(at(0.7))
    await cinema(page, upload.url)
    await until(async () => await time(page) > 0.2, 'the film plays', 30000)
    for (const part of [0.8, 0.9, 0.95]) {
      const before = await has(page)
      const cut = await upload.begin(at(part))
      await until(async () => await has(page) > before, 'it goes on', 30000)
      if (part === 0.95) await world.server.kill()
      cut()
    }
    await world.server.start()
    await upload.send(content.length)
    await until(() => page.evaluate(() => document.querySelector('video').ended), 'the film ends', 60000)

    assert.ok(await time(page) > SECONDS * 0.7)
    assert.equal(await page.evaluate(() => document.querySelector('video').error), null)
    return visit
  }
}

await play(scenarios)
