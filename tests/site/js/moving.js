// What the start page of the documents shows: files on their way, a server that dies, and comes back.
// Run by scripts/pictures: node moving.js PLAN; the frames are put into the directory that the plan names.
import fs from 'node:fs'
import path from 'node:path'
import { World, sleep, until } from './world.js'

const MB = 1_000_000
const plan = JSON.parse(process.argv[2])
const world = new World(plan)
let filming = true

async function film (page) {
  for (let number = 0; filming; number++) {
    const name = `${String(number).padStart(4, '0')}.${Date.now()}.png`
    await page.screenshot({ path: path.join(plan.frames, name) })
    await sleep(150)
  }
}

async function play () {
  fs.mkdirSync(plan.frames, { recursive: true })
  const visit = await world.begin({ viewport: { width: 760, height: 700 } })
  world.network.rate = 2.2 * MB
  const files = [['Lecture 12.mp4', 22], ['Harbour at dawn.mov', 15], ['Thesis, final version.pdf', 9]]
  const filmed = film(visit.page)
  await sleep(600)
  await visit.choose(...files.map(([name, size]) => world.file(name, size * MB)))
  await until(() => visit.page.locator('#total').textContent().then(text => / ([3-9]\d) %/.test(text)), 'a third', 60000)
  await world.server.kill()
  await sleep(2500)
  await world.server.start()
  await until(async () => await visit.page.locator('li.done').count() === files.length, 'all done', 60000)
  await sleep(600)
  filming = false
  await filmed
}

let code = 0
try { await play() } catch (error) { console.error(error); code = 1 }
await world.end()
process.exit(code)
