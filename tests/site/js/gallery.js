// What people do in the gallery and on the operators' page, one scenario a fact. Run by tests/site/test_browser.py.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { play, sleep, until } from './world.js'

const MB = 1_000_000
const photos = world => path.join(world.home, 'photos')
const tiles = visit => visit.page.locator('#tiles li')
const shown = locator => locator.evaluate(image => image.decode().then(() => image.naturalWidth > 0, () => false))

function copy (world, name) {
  const target = path.join(world.home, name)
  fs.copyFileSync(path.join(photos(world), 'Iceland', 'IMG 1.jpg'), target)
  return target
}

/** The server has no time for one thumbnail, so many times; how often it was asked for. */
async function busy (visit, times) {
  let asked = 0
  await visit.page.route(/IMG%202\.jpg\?/, async route => {
    if (asked++ < times) await route.fulfill({ status: 503, headers: { 'Retry-After': '2' }, body: 'busy' })
    else await route.continue()
  })
  return () => asked
}

/** That thumbnail is shown in its album in the end. */
async function loads (world, visit) {
  await visit.page.goto(`${world.network.origin}/Garden/`)
  const image = visit.page.locator('#tiles img[alt="IMG 2.jpg"]')
  await until(async () => await image.evaluate(image => image.complete && image.naturalWidth > 0), 'the thumbnail')
}

export const scenarios = {
  async 'albums lead to photos, and arrow keys from one to the next' (world) {
    const visit = await world.begin()
    const { page } = visit

    await page.getByRole('link', { name: 'Iceland' }).click()
    await page.waitForURL('**/Iceland/')
    await page.locator('#tiles a').first().click()
    await page.waitForURL('**/IMG%201.jpg/')
    assert.ok(await shown(page.locator('.photo')))
    await page.keyboard.press('ArrowRight')
    await page.waitForURL('**/IMG%202.jpg/')
    await page.keyboard.press('ArrowLeft')
    await page.waitForURL('**/IMG%201.jpg/')
    await page.keyboard.press('ArrowLeft')
    await page.getByRole('link', { name: 'Full size' }).click()
    await page.waitForURL('**/IMG%201.jpg')
    return visit
  },

  async 'what is uploaded appears in the album, without a reload' (world) {
    const visit = await world.begin()
    const { page } = visit
    await page.goto(`${world.network.origin}/Garden/`)
    await page.evaluate(() => { window.same = true })

    await visit.choose(copy(world, 'new one.jpg'), copy(world, 'IMG 1.jpg'))
    await until(async () => await tiles(visit).count() === 6, 'the tiles')

    const names = await page.locator('#tiles img').evaluateAll(images => images.map(image => image.alt))
    assert.deepEqual(names, ['IMG 1 (2).jpg', 'IMG 1.jpg', 'IMG 2.jpg', 'IMG 3.jpg', 'IMG 4.jpg', 'new one.jpg'])
    assert.ok(await shown(page.locator('#tiles img[alt="new one.jpg"]')))
    assert.ok(fs.existsSync(path.join(photos(world), 'Garden', 'new one.jpg')))
    assert.ok(await page.evaluate(() => window.same))
    assert.match(await visit.row('new one.jpg').locator('a').getAttribute('href'), /\/Garden\/new%20one\.jpg\/$/)
    return visit
  },

  async 'what is no photo is refused before a byte is sent' (world) {
    const visit = await world.begin()

    await visit.choose(world.file('notes.txt', 100))
    await visit.shows('notes.txt', /not taken here/)

    assert.equal(visit.count('POST'), 0)
    return visit
  },

  async 'thumbnails load when they are looked at' (world) {
    for (let n = 0; n < 60; n++) fs.copyFileSync(path.join(photos(world), 'IMG 1.jpg'), path.join(photos(world), `more ${n}.jpg`))
    const visit = await world.begin({ viewport: { width: 600, height: 500 } })
    await visit.page.waitForLoadState('networkidle')
    const before = visit.requests.filter(line => line.includes('more')).length

    await visit.page.evaluate(() => scrollTo(0, document.body.scrollHeight))
    await until(() => visit.requests.filter(line => line.includes('more 59') || line.includes('more%2059')).length)

    assert.ok(before < 50, `${before} were loaded at once`)
    return visit
  },

  async 'a thumbnail that is not made yet is asked for again' (world) {
    const visit = await world.begin()
    const asked = await busy(visit, 3)

    await loads(world, visit)

    assert.ok(asked() > 3)
    return visit
  },

  async 'a thumbnail that failed before the script came is asked for again' (world) {
    const visit = await world.begin()
    const asked = await busy(visit, 1)
    await visit.page.route('**/gallery.js*', async route => {
      await until(asked)
      await sleep(500)
      await route.continue()
    })

    await loads(world, visit)
    return visit
  },

  async 'a photo that cannot be shown says so, once' (world) {
    fs.writeFileSync(path.join(photos(world), 'Garden', 'broken.jpg'), 'no photo')
    const visit = await world.begin()
    await visit.page.locator('.folders .frame.broken').waitFor()
    const album = await world.visit('/Garden/')
    await album.page.locator('.frame.broken').waitFor()
    const again = await world.visit('/')

    assert.equal(album.requests.filter(line => line.includes('broken')).length, 2)
    assert.equal(await again.page.locator('.folders img[src*=broken]').count(), 0, 'another photo is the cover now')
    return visit
  },

  async 'axe finds nothing in the gallery, in light and dark, wide and narrow' (world) {
    fs.writeFileSync(path.join(photos(world), 'clip.mp4'), Buffer.alloc(5000))
    fs.writeFileSync(path.join(photos(world), 'broken.jpg'), 'no photo')
    const visit = await world.begin({ reducedMotion: 'reduce' }) // colours in transition have any contrast
    const flaws = []
    for (const where of ['/', '/Iceland/', '/Iceland/IMG%202.jpg/', '/clip.mp4/', '/nothing/', await world.server.operators()]) {
      await visit.page.goto(world.network.origin + where)
      if (where === '/') await visit.page.locator('.frame.broken').first().waitFor()
      for (const colorScheme of ['light', 'dark']) {
        await visit.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        for (const width of [375, 1000]) {
          await visit.page.setViewportSize({ width, height: 800 })
          flaws.push(...(await visit.flaws()).map(flaw => `${where}, ${colorScheme}, ${width}: ${flaw}`))
          if (await visit.overflows()) flaws.push(`${where}, ${width}: too wide`)
        }
      }
    }
    assert.deepEqual(flaws, [])
    return visit
  },

  async 'operators watch an upload, stop it and remove it' (world) {
    const visit = await world.begin()
    world.network.rate = MB
    const file = path.join(world.home, 'long.mp4')
    fs.writeFileSync(file, Buffer.alloc(40 * MB))
    await visit.choose(file)
    await visit.shows('long.mp4', /^[1-9]\d? %/)

    const office = await world.visit(await world.server.operators())
    assert.doesNotMatch(office.page.url(), /token/)
    const row = office.page.locator('#uploads tr', { hasText: 'long.mp4' })
    await until(async () => /B\/s/.test(await row.locator('.speed').textContent()), 'the speed')
    assert.deepEqual(await office.flaws(), [])
    const before = visit.requests.filter(line => line.startsWith('PATCH')).length
    await row.getByRole('button', { name: 'Stop' }).click()
    await until(() => visit.requests.filter(line => line.startsWith('PATCH')).length > before, 'its client goes on')
    const ids = () => office.page.evaluate(async () => (await (await fetch('uploads')).json()).uploads.map(one => one.id))
    const [id] = await ids()
    await row.getByRole('button', { name: 'Remove' }).click()
    await until(async () => !(await ids()).includes(id), 'it is gone') // though its client may begin again

    await office.page.reload() // the cookie lets them in again
    await office.page.locator('#find').fill('no such upload')
    await until(() => office.page.locator('#none').isVisible(), 'nothing is found')

    assert.deepEqual(office.complaints, [])
    // The page was loaded anew, so that the line begins again with what it hears next.
    await until(async () => (await office.page.locator('#line').getAttribute('points') || '').length > 5, 'the line')
    return office
  },

  async 'operators hear that there are more uploads than are shown, and turn the page' (world) {
    await world.begin()
    const office = await world.visit(await world.server.operators())
    await office.page.evaluate(async () => {
      const begin = n => fetch('/~tus/files', {
        method: 'POST',
        headers: { 'Tus-Resumable': '1.0.0', 'Upload-Length': '9', 'Upload-Metadata': `filename ${btoa(`${n}.jpg`)}` }
      })
      for (let n = 0; n < 1003; n += 17) await Promise.all(Array.from({ length: 17 }, (_, i) => begin(n + i)))
    })
    await until(async () => /^Uploads 1 to 1,000 /.test(await office.page.locator('#range').textContent()), 'the first page')
    assert.match(await office.page.locator('#summary').textContent(), /^1,003 uploads/)
    await office.page.locator('#later').click()
    await until(async () => await office.page.locator('#uploads tr').count() === 3, 'the second page')
    assert.match(await office.page.locator('#range').textContent(), /^Uploads 1,001 to 1,003 /)
    assert.ok(await office.page.locator('#later').isDisabled())
    assert.deepEqual(await office.flaws(), [])
    assert.deepEqual(office.complaints, [])
    return office
  },

  async 'screenshots' (world) {
    const visit = await world.begin({ viewport: { width: 1000, height: 760 }, reducedMotion: 'reduce' })
    const target = process.env.SCREENSHOTS
    await visit.page.waitForLoadState('networkidle')
    await visit.page.screenshot({ path: path.join(target, 'gallery.png') })
    await visit.page.goto(`${world.network.origin}/Iceland/IMG%202.jpg/`)
    await visit.page.waitForLoadState('networkidle')
    await visit.page.screenshot({ path: path.join(target, 'photo.png') })
    await visit.page.emulateMedia({ colorScheme: 'dark' })
    await visit.page.goto(`${world.network.origin}/`)
    await visit.page.setViewportSize({ width: 375, height: 760 })
    await visit.page.waitForLoadState('networkidle')
    await visit.page.screenshot({ path: path.join(target, 'gallery-phone.png') })
    return visit
  }
}

await play(scenarios)
