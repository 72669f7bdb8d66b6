// What people do on the upload page, one scenario a fact. Run by tests/site/test_browser.py: node page.js NAME PLAN
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { digest, play, sleep, until } from './world.js'

const MB = 1_000_000
const PNG = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')
const sums = files => files.map(file => digest(fs.readFileSync(file))).sort()

export const scenarios = {
  async 'several files arrive, three at a time' (world) {
    const visit = await world.begin()
    world.network.rate = 8 * MB
    const files = [1, 2, 3, 4, 5].map(n => world.file(`${n}.bin`, 2 * MB + n))

    await visit.choose(...files)
    await until(async () => await visit.page.locator('li.sending').count() === 3)
    const most = await visit.page.locator('li.sending').count()
    await until(async () => await visit.page.locator('li.done').count() === 5, 'all done', 30000)

    assert.equal(most, 3)
    assert.deepEqual(world.server.files(), sums(files))
    assert.match(await visit.page.locator('#total').textContent(), /5 of 5 files, 100 %/)
    return visit
  },

  async 'a file that was chosen before the script ran arrives' (world) {
    const visit = await world.begin()
    const file = world.file('early.bin', MB)
    let go
    const gate = new Promise(resolve => { go = resolve })
    await visit.page.route('**/upload.js', async route => { await gate; await route.continue() })
    await visit.page.reload({ waitUntil: 'commit' })

    await visit.choose(file)
    go()
    await visit.shows('early.bin', /^Done/)

    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'a finished file has a link that can be copied, and a picture shows itself' (world) {
    const visit = await world.begin({ permissions: ['clipboard-read', 'clipboard-write'] })
    const picture = path.join(world.home, 'dot.png')
    fs.writeFileSync(picture, PNG)

    await visit.choose(picture)
    await visit.shows('dot.png', /^Done/)
    await visit.click('dot.png', 'Copy link')
    await until(async () => await visit.page.locator('#live').textContent() === 'Link copied')
    await visit.row('dot.png').getByText('Link copied').waitFor()

    const link = await visit.row('dot.png').locator('a').getAttribute('href')
    assert.equal(await visit.page.evaluate(() => navigator.clipboard.readText()), link)
    assert.equal(digest(Buffer.from(await (await fetch(link)).arrayBuffer())), digest(PNG))
    assert.ok(await visit.row('dot.png').locator('img').evaluate(image => image.decode().then(() => image.naturalWidth)))
    return visit
  },

  async 'Safari 26 is given what lies in memory, a piece at a time' (world) {
    const userAgent = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15'
    const visit = await world.begin({ userAgent })
    const file = world.file('film.bin', 10 * MB)
    await visit.page.evaluate(() => {
      const { send } = XMLHttpRequest.prototype
      window.sent = []
      XMLHttpRequest.prototype.send = function (body) {
        if (body) window.sent.push([body.constructor.name, body.byteLength])
        return send.call(this, body)
      }
    })

    await visit.choose(file)
    await visit.shows('film.bin', /^Done/, 60000)

    const sent = await visit.page.evaluate(() => window.sent)
    assert.deepEqual(sent, [8 << 20, 10 * MB - (8 << 20)].map(size => ['ArrayBuffer', size]))
    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'a proxy that takes no large request gets small ones' (world) {
    const visit = await world.begin()
    world.network.most = MB
    const files = [world.file('film.bin', 20 * MB), world.file('next.bin', 3 * MB)]

    await visit.choose(files[0])
    await visit.shows('film.bin', /^Done/, 60000)
    const tried = visit.count('PATCH')
    await visit.choose(files[1])
    await visit.shows('next.bin', /^Done/, 60000)

    assert.deepEqual(world.server.files(), sums(files))
    assert.equal(visit.count('PATCH') - tried, 10) // the size that fits is known by now: a 64th of the first file
    return visit
  },

  async 'five thousand files do not block the page' (world) {
    const visit = await world.begin()

    const blocked = await visit.page.evaluate(async files => {
      const data = new DataTransfer()
      for (let n = 0; n < files; n++) data.items.add(new File([new Uint8Array(1024)], `${n}.bin`))
      const input = document.querySelector('#file')
      input.files = data.files
      let last = performance.now(); let longest = 0
      const beat = setInterval(() => { longest = Math.max(longest, performance.now() - last); last = performance.now() }, 5)
      input.dispatchEvent(new Event('change'))
      await new Promise(resolve => {
        document.addEventListener('uploaded', () => { if (!--files) resolve() })
        files = 200
      })
      clearInterval(beat)
      return longest
    }, 5000)

    assert.ok(blocked < 1000, `${blocked} ms`) // 300 on a machine that does nothing else; it was 6,000 and more
    assert.equal(visit.count('PATCH'), 0, 'small files go with the request that creates them')
    assert.ok(await visit.page.locator('li').count() < 20, 'only what is looked at is in the document')
    assert.match(await visit.page.locator('#total').textContent(), /of 5,000 files, \d+ %, .*B\/s, .* left$/)
    // As it was drawn last; more are done since.
    assert.match(await visit.page.locator('#list-more').textContent(), /^Show more, [34],\d\d\d are not listed$/)
    return visit
  },

  async 'what runs is on top, and what is finished is folded up' (world) {
    const visit = await world.begin()
    const { page } = visit
    world.network.rate = 4 * MB
    const small = Array.from({ length: 8 }, (_, n) => world.file(`small ${n}.txt`, 100 + n))
    const large = [1, 2, 3, 4].map(n => world.file(`large ${n}.bin`, 40 * MB))

    await visit.choose(large[0], ...small, ...large.slice(1))
    await until(async () => await page.locator('#finished summary').textContent() === '8 files are finished')
    await visit.shows('large 1.bin', /^[1-9]\d? %/)

    assert.equal(await page.locator('#links li').count(), 0)
    assert.deepEqual(await page.locator('#list li').evaluateAll(rows => rows.map(row => row.className)), ['sending', 'sending', 'sending', 'waiting'])
    assert.ok(await page.locator('#overall').evaluate(bar => bar.value > 0))
    await page.locator('#finished summary').click()
    await until(async () => await page.locator('#links li').count() === 8)
    assert.deepEqual(await visit.flaws(), [])
    return visit
  },

  async 'links of finished files are still there after a reload' (world) {
    const visit = await world.begin()
    const { page } = visit
    await visit.choose(world.file('one.txt', 1000), world.file('two.txt', 2000))
    await until(async () => await page.locator('#links a').count() === 2)
    const links = await page.locator('#links a').evaluateAll(all => all.map(one => one.href))

    await page.reload()
    const kept = await page.locator('#links a').evaluateAll(all => all.map(one => one.href))
    await fetch(links[0], { method: 'DELETE', headers: { 'Tus-Resumable': '1.0.0' } })
    await page.reload()
    await until(async () => await page.locator('#links a').count() === 1, 'what was removed is not listed')
    await page.click('#clear')
    await page.reload()

    assert.deepEqual(kept, links)
    assert.ok(await page.locator('#finished').isHidden())
    return visit
  },

  async 'without a clipboard, on plain http, a link is copied in the old way' (world) {
    const visit = await world.begin({ permissions: ['clipboard-read', 'clipboard-write'] })
    await visit.page.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }))
    await visit.page.reload()

    await visit.choose(world.file('old.txt', 1000))
    await visit.shows('old.txt', /^Done/)
    await visit.click('old.txt', 'Copy link')
    await visit.row('old.txt').getByText('Link copied').waitFor()

    const other = await world.visit()
    const link = await visit.row('old.txt').locator('a').getAttribute('href')
    await other.page.bringToFront()
    assert.equal(await other.page.evaluate(() => navigator.clipboard.readText()), link)
    return visit
  },

  async 'a hundred pauses make one upload' (world) {
    const visit = await world.begin()
    world.network.rate = MB
    const file = world.file('paused.bin', 60 * MB)

    await visit.choose(file)
    for (let n = 0; n < 100; n++) {
      await visit.click('paused.bin', 'Pause')
      if (n % 10 === 0) await sleep(100)
      await visit.click('paused.bin', 'Resume')
      if (n % 7 === 0) await sleep(50)
    }
    world.network.rate = Infinity
    await visit.shows('paused.bin', /^Done/, 60000)

    assert.equal(visit.count('POST'), 1)
    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'a killed server is waited for' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    const file = world.file('killed.bin', 20 * MB)

    await visit.choose(file)
    await visit.shows('killed.bin', /^[1-9]\d? %/)
    await sleep(1500)
    await world.server.kill()
    await visit.shows('killed.bin', /Connection lost/)
    world.network.rate = Infinity
    await world.server.start()
    await visit.shows('killed.bin', /^Done/, 30000)

    assert.equal(visit.count('POST'), 1)
    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'a frozen connection is noticed' (world) {
    const visit = await world.begin()
    await visit.page.route('**/item.js', async route => {
      const answer = await route.fetch()
      await route.fulfill({ response: answer, body: (await answer.text()).replace('|| 30', '|| 4') })
    })
    await visit.page.reload()
    world.network.rate = 4 * MB
    const file = world.file('frozen.bin', 20 * MB)

    await visit.choose(file)
    await visit.shows('frozen.bin', /^[1-9]\d? %/)
    await sleep(1000)
    world.network.freeze()
    world.network.rate = Infinity
    await visit.shows('frozen.bin', /^Done/, 30000)

    assert.equal(visit.count('POST'), 1)
    assert.ok(visit.count('PATCH') >= 2)
    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'after a reload the same file goes on' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    const file = world.file('reloaded.bin', 30 * MB)

    await visit.choose(file)
    await visit.shows('reloaded.bin', /^[1-9]\d? %/)
    await sleep(1500)
    await visit.page.reload()
    await visit.page.locator('#left li', { hasText: 'reloaded.bin' }).waitFor()
    assert.match(await visit.page.locator('#left .status').textContent(), /\d+ % of 30 MB have arrived/)
    assert.deepEqual(await visit.flaws(), [])
    world.network.rate = Infinity
    await visit.choose(file)
    await visit.shows('reloaded.bin', /^Done/)

    assert.equal(visit.count('POST'), 1)
    assert.equal(await visit.page.locator('#left li').count(), 0)
    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'after the window was closed, and the server with it, the same file goes on' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    const file = world.file('closed.bin', 20 * MB)

    await visit.choose(file)
    await visit.shows('closed.bin', /^[1-9]\d? %/)
    await sleep(1000)
    await visit.page.close()
    await world.server.kill()
    await world.server.start()
    world.network.rate = Infinity
    const later = await world.visit()
    await later.page.locator('#left li', { hasText: 'closed.bin' }).waitFor()
    await later.choose(file)
    await later.shows('closed.bin', /^Done/)

    assert.equal(later.count('POST'), 0)
    assert.deepEqual(world.server.files(), sums([file]))
    return later
  },

  async 'a creation whose answer is lost makes one upload, also if the window is closed' (world) {
    const visit = await world.begin()
    const file = world.file('lost.bin', 2 * MB)
    const made = () => fs.readdirSync(world.server.uploads).filter(name => name.endsWith('.info')).length

    world.network.hold() // what the server answers from now on
    await visit.choose(file)
    await until(() => visit.count('POST') && made(), 'the upload is made')
    await visit.page.close()
    world.network.release()
    const later = await world.visit()
    await later.choose(file)
    await later.shows('lost.bin', /^Done/)

    assert.equal(later.count('POST'), 1)
    assert.equal(made(), 1)
    assert.deepEqual(world.server.files(), sums([file]))
    assert.deepEqual(await later.page.evaluate(() => Object.keys(localStorage).filter(key => key.startsWith('tus-key'))), [])
    return later
  },

  async 'what was not finished can be forgotten' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    await visit.choose(world.file('forgotten.bin', 20 * MB))
    await visit.shows('forgotten.bin', /^[1-9]\d? %/)
    await visit.page.reload()

    await visit.page.getByRole('button', { name: 'Forget forgotten.bin' }).click()
    await until(() => visit.count('DELETE') === 1)

    await until(() => !fs.readdirSync(world.server.uploads).some(name => /^[0-9a-f]{32}$/.test(name)))
    assert.ok(await visit.page.locator('#unfinished').isHidden())
    assert.equal(await visit.page.evaluate(() => document.activeElement.id), 'file')
    return visit
  },

  async 'of very many that are not finished, some are listed, and the page says so' (world) {
    const visit = await world.begin()
    await visit.page.evaluate(async () => {
      for (let n = 0; n < 55; n++) {
        const answer = await fetch('files', { method: 'POST', headers: { 'Tus-Resumable': '1.0.0', 'Upload-Length': 9 } })
        const uploadUrl = new URL(answer.headers.get('Location'), location).href
        localStorage[`tus::some file::${n}`] = JSON.stringify({ uploadUrl, size: 9, metadata: { filename: `${n}.txt` } })
      }
    })

    await visit.page.reload()
    await visit.page.getByRole('button', { name: 'Show more, 5 are not listed' }).click()
    await until(async () => await visit.page.locator('#left li').count() === 55)

    assert.ok(await visit.page.locator('#left-more').isHidden())
    return visit
  },

  async 'offline is said, and online goes on' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    const file = world.file('offline.bin', 20 * MB)

    await visit.choose(file)
    await visit.shows('offline.bin', /^[1-9]\d? %/)
    await world.context.setOffline(true)
    await visit.page.locator('#offline').waitFor()
    await visit.shows('offline.bin', /Waiting for the connection/)
    assert.deepEqual(await visit.flaws(), [])
    world.network.rate = Infinity
    await world.context.setOffline(false)
    await visit.shows('offline.bin', /^Done/)

    assert.equal(visit.count('POST'), 1)
    assert.ok(await visit.page.locator('#offline').isHidden())
    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'resume all waits for the connection' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    const files = [1, 2].map(n => world.file(`${n}.bin`, 20 * MB + n))
    await visit.choose(...files)
    await visit.shows('2.bin', /^[1-9]\d? %/)
    await visit.page.click('#pause-all')
    await world.context.setOffline(true)
    await visit.page.locator('#offline').waitFor()
    const before = visit.requests.length

    await visit.page.click('#pause-all')
    await visit.shows('1.bin', /^Waiting for the connection/)
    await visit.shows('2.bin', /^Waiting for the connection/)
    assert.equal(visit.requests.length, before)
    world.network.rate = Infinity
    await world.context.setOffline(false)
    await visit.shows('2.bin', /^Done/)

    assert.equal(visit.count('POST'), 2)
    await until(() => world.server.files().length === 2)
    return visit
  },

  async 'two windows with the same file do not fight' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    const file = world.file('twice.bin', 12 * MB)

    await visit.choose(file)
    await visit.shows('twice.bin', /^[1-9]\d? %/)
    const other = await world.visit()
    assert.equal(await other.page.locator('#left li').count(), 0)
    await other.choose(file)
    await Promise.all([visit.shows('twice.bin', /^Done/, 30000), other.shows('twice.bin', /^Done/, 30000)])

    assert.deepEqual([visit.count('PATCH'), other.count('PATCH')], [1, 1])
    assert.deepEqual(world.server.files(), sums([file, file]))
    return other
  },

  async 'three hundred megabytes arrive' (world) {
    const visit = await world.begin()
    const file = world.file('big.bin', 300 * MB)

    await visit.choose(file)
    await visit.shows('big.bin', /^Done/, 60000)

    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'a folder is dropped with its sub-folders' (world) {
    const visit = await world.begin()
    const files = ['trip/one.txt', 'trip/deep/two.txt', 'trip/deep/er/three.txt'].map((name, n) => world.file(name, 1000 + n))
    const session = await world.context.newCDPSession(visit.page)
    const data = { items: [], files: [path.join(world.home, 'files', 'trip')], dragOperationsMask: 1 }

    for (const type of ['dragEnter', 'dragOver', 'drop']) await session.send('Input.dispatchDragEvent', { type, x: 300, y: 200, data })
    await until(async () => await visit.page.locator('li.done').count() === 3, 'all done')

    const names = await visit.page.locator('#links .name').allTextContents()
    assert.deepEqual(names.sort(), ['trip/deep/er/three.txt', 'trip/deep/two.txt', 'trip/one.txt'])
    assert.deepEqual(world.server.files(), sums(files))
    return visit
  },

  async 'a folder is chosen' (world) {
    const visit = await world.begin()
    world.file('album/a.txt', 10); world.file('album/sub/b.txt', 20)

    const [chooser] = await Promise.all([visit.page.waitForEvent('filechooser'), visit.page.click('#folder')])
    await chooser.setFiles(path.join(world.home, 'files', 'album'))
    await until(async () => await visit.page.locator('li.done').count() === 2, 'all done')

    assert.deepEqual((await visit.page.locator('#links .name').allTextContents()).sort(), ['album/a.txt', 'album/sub/b.txt'])
    return visit
  },

  async 'a pasted file arrives' (world) {
    const visit = await world.begin()

    await visit.page.evaluate(() => {
      const clipboardData = new DataTransfer()
      clipboardData.items.add(new File(['pasted'], 'pasted.txt'))
      dispatchEvent(new ClipboardEvent('paste', { clipboardData }))
    })
    await visit.shows('pasted.txt', /^Done/)

    assert.deepEqual(world.server.files(), [digest('pasted')])
    return visit
  },

  async 'cancelling removes the upload and moves the focus' (world) {
    const visit = await world.begin()
    world.network.rate = 2 * MB
    await visit.choose(world.file('first.bin', 10 * MB), world.file('second.bin', 10 * MB))
    await visit.shows('first.bin', /^[1-9]\d? %/)

    await visit.click('first.bin', 'Cancel')
    await until(() => visit.count('DELETE') === 1)

    assert.equal(await visit.page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Pause second.bin')
    assert.match(await visit.page.locator('#live').textContent(), /first.bin: cancelled/)
    await until(() => fs.readdirSync(world.server.uploads).filter(name => /^[0-9a-f]{32}$/.test(name)).length === 1)
    return visit
  },

  async 'pause all, resume all' (world) {
    const visit = await world.begin()
    world.network.rate = 3 * MB
    const files = [1, 2, 3, 4].map(n => world.file(`all${n}.bin`, 20 * MB + n))
    await visit.choose(...files)
    await visit.shows('all1.bin', /^[1-9]\d? %/)

    await visit.page.click('#pause-all')
    assert.equal(await visit.page.locator('li.paused').count(), 4)
    assert.equal(await visit.page.title(), 'Upload files')
    assert.deepEqual(await visit.flaws(), [])
    world.network.rate = Infinity
    await visit.page.click('#pause-all')
    await until(async () => await visit.page.locator('li.done').count() === 4, 'all done', 30000)

    assert.equal(visit.count('POST'), 4)
    assert.deepEqual(world.server.files(), sums(files))
    return visit
  },

  async 'what is too big is refused before a byte is sent' (world) {
    const visit = await world.begin()

    await visit.choose(world.file('huge.bin', 2 * MB))
    await visit.shows('huge.bin', /^Too big: 2(\.0)? MB. At most 1(\.0)? MB are allowed/)

    assert.equal(visit.count('POST'), 0)
    assert.deepEqual(await visit.flaws(), [])
    return visit
  },

  async 'a password opens the page and its uploads' (world) {
    const visit = await world.begin({ httpCredentials: { username: 'anna', password: 'a long word' } })
    const refused = await fetch(world.network.origin)
    const files = [world.file('a.bin', 2 * MB), world.file('b.bin', 10)]

    await visit.choose(...files)
    await visit.shows('a.bin', /^Done/)
    await visit.shows('b.bin', /^Done/)

    assert.equal(refused.status, 401)
    assert.deepEqual(world.server.files(), sums(files))
    return visit
  },

  async 'a refusal of the server is shown, and can be tried again' (world) {
    const visit = await world.begin()
    await visit.page.route('**/files', route => route.fulfill({ status: 403, body: 'the cellar is full' }), { times: 1 })

    await visit.choose(world.file('refused.bin', 1000))
    await visit.shows('refused.bin', /Failed: the cellar is full \(403\)/)
    assert.deepEqual(await visit.row('refused.bin').getByRole('button').allTextContents(), ['Start again', 'Remove'])
    assert.deepEqual(await visit.flaws(), [])
    await visit.click('refused.bin', 'Start again')
    await visit.shows('refused.bin', /^Done/)
    return visit
  },

  async 'what the host refused says why each time, and can be started again' (world) {
    const visit = await world.begin()
    const { page } = visit
    world.network.rate = 4 * MB
    const file = world.file('dark.png', 8 * MB)
    await visit.choose(file)
    await visit.shows('dark.png', /^[1-9]\d? %/)
    await visit.shows('dark.png', /^Failed: this is no PNG picture \(422\)/)
    assert.deepEqual(await visit.row('dark.png').getByRole('button').allTextContents(), ['Start again', 'Remove'])
    assert.deepEqual(await visit.flaws(), [])

    await page.reload()
    const left = page.locator('#left li', { hasText: 'dark.png' })
    await until(async () => /Failed: this is no PNG picture \(422\)/.test(await left.locator('.status').textContent()))
    await visit.choose(file)
    await visit.shows('dark.png', /^Failed: this is no PNG picture \(422\)/)
    assert.equal(visit.count('POST'), 1, 'nothing was sent again before somebody asked for it')
    await visit.click('dark.png', 'Start again')
    await until(() => visit.count('POST') === 2)
    await until(() => visit.count('DELETE') === 1)
    await visit.shows('dark.png', /^Failed: this is no PNG picture \(422\)/)
    await visit.click('dark.png', 'Remove')
    await until(() => visit.count('DELETE') === 2)

    assert.equal(await page.locator('#list li').count(), 0)
    await until(() => !fs.readdirSync(world.server.uploads).some(name => /^[0-9a-f]{32}$/.test(name)), 'nothing is left')
    return visit
  },

  async 'a small file that the host refused says why' (world) {
    const visit = await world.begin()

    await visit.choose(world.file('small.png', 1000))
    await visit.shows('small.png', /^Failed: this is no PNG picture \(422\)/)

    assert.deepEqual(await visit.row('small.png').getByRole('button').allTextContents(), ['Start again', 'Remove'])
    return visit
  },

  async 'a proxy without its server does not make an upload begin again' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    await visit.choose(world.file('proxied.bin', 20 * MB))
    await visit.shows('proxied.bin', /^[1-9]\d? %/)
    await visit.click('proxied.bin', 'Pause')
    const page = '<html><title>502 Bad Gateway</title><body>nginx</body></html>'
    await visit.page.route('**/files/*', route => route.fulfill({ status: 502, contentType: 'text/html', body: page }), { times: 2 })

    await visit.click('proxied.bin', 'Resume')
    world.network.rate = Infinity
    await visit.shows('proxied.bin', /^Done/, 30000)

    assert.equal(visit.count('POST'), 1)
    return visit
  },

  async 'between the last byte and the answer it says so' (world) {
    const visit = await world.begin()
    world.network.rate = 4 * MB
    await visit.choose(world.file('finishing.bin', 8 * MB))
    await visit.shows('finishing.bin', /^[1-9]\d? %/)
    world.network.hold()
    await visit.shows('finishing.bin', /^Finishing…/)
    assert.deepEqual(await visit.flaws(), [])
    world.network.release()
    await visit.shows('finishing.bin', /^Done/)
    return visit
  },

  async 'the title and the voice say how far it is' (world) {
    const visit = await world.begin()
    world.network.rate = 2 * MB
    await visit.choose(world.file('spoken.bin', 12 * MB))
    assert.equal(await visit.page.locator('#live').textContent(), '1 file added')
    await until(async () => /^[1-9]\d? % – Upload files$/.test(await visit.page.title()), 'the title')
    await visit.shows('spoken.bin', /^\d+ %, [\d.]+ MB of 12 MB, [\d.]+ [kM]B\/s, \d+ s left$/)
    assert.equal(await visit.page.locator('[role=status]').count(), 1)
    world.network.rate = Infinity
    await visit.shows('spoken.bin', /^Done/)
    // Nothing is said within a second of what was said before.
    await until(async () => await visit.page.locator('#live').textContent() === 'spoken.bin: Done, 12 MB', 'the voice')
    assert.equal(await visit.page.title(), 'Upload files')
    return visit
  },

  async 'everything can be done by keyboard' (world) {
    const visit = await world.begin()
    world.network.rate = 2 * MB
    const { keyboard } = visit.page
    const focused = () => visit.page.evaluate(() => document.activeElement.getAttribute('aria-label') || document.activeElement.id || document.activeElement.textContent)
    const tab = async name => { for (let n = 0; n < 12; n++) { await keyboard.press('Tab'); if (await focused() === name) return } assert.fail(`no way to ${name}`) }

    await tab('file')
    const [chooser] = await Promise.all([visit.page.waitForEvent('filechooser'), keyboard.press('Enter')])
    await chooser.setFiles([world.file('keys.bin', 8 * MB), world.file('more.bin', 8 * MB)])
    await visit.shows('keys.bin', /^[1-9]\d? %/)
    await tab('Pause keys.bin')
    await keyboard.press('Space')
    await visit.shows('keys.bin', /^Paused at/)
    assert.equal(await focused(), 'Resume keys.bin')
    await keyboard.press('Space')
    await tab('Cancel more.bin')
    await keyboard.press('Enter')
    assert.equal(await visit.row('more.bin').count(), 0)
    world.network.rate = Infinity
    await visit.shows('keys.bin', /^Done/)
    await tab('Copy link keys.bin')
    return visit
  },

  async 'axe finds nothing, in light and dark, wide and narrow' (world) {
    const visit = await world.begin({ reducedMotion: 'reduce' }) // colours in transition have any contrast
    const flaws = []
    world.network.rate = 2 * MB
    const look = async state => {
      for (const colorScheme of ['light', 'dark']) {
        await visit.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        for (const width of [375, 1000]) {
          await visit.page.setViewportSize({ width, height: 800 })
          flaws.push(...(await visit.flaws()).map(flaw => `${state}, ${colorScheme}, ${width}: ${flaw}`))
          if (await visit.overflows()) flaws.push(`${state}, ${width}: too wide`)
        }
      }
    }
    await look('empty')
    const small = world.file('done.txt', 10)
    await visit.choose(small)
    await visit.shows('done.txt', /^Done/)
    await visit.choose(world.file(`a-${'very-'.repeat(20)}long-name.bin`, 30 * MB), world.file('two.bin', 30 * MB))
    await visit.shows('two.bin', /^[1-9]\d? %/)
    await look('sending')
    await visit.click('two.bin', 'Pause')
    await look('paused')
    assert.deepEqual(flaws, [])
    return visit
  },

  async 'buttons are large enough for a finger' (world) {
    const visit = await world.begin({ viewport: { width: 375, height: 700 }, hasTouch: true, isMobile: true })
    world.network.rate = MB
    await visit.choose(world.file('finger.bin', 9 * MB))
    await visit.shows('finger.bin', /%/)

    const sizes = await visit.page.locator('button:visible, label.button').evaluateAll(all => all.map(one => {
      const { width, height } = one.getBoundingClientRect()
      return Math.min(width, height)
    }))
    assert.ok(Math.min(...sizes) >= 44, String(sizes))
    assert.ok(await visit.page.locator('#camera').isVisible(), 'a phone has a camera')
    assert.equal(await visit.overflows(), false)
    return visit
  },

  async 'a German reader reads German' (world) {
    const visit = await world.begin({ locale: 'de-DE' })

    await visit.choose(world.file('deutsch.bin', 1500))
    await visit.shows('deutsch.bin', /^Fertig, 1,5 kB/)

    assert.equal(await visit.page.title(), 'Dateien hochladen')
    assert.equal(await visit.page.locator('html').getAttribute('lang'), 'de')
    assert.deepEqual(await visit.flaws(), [])
    return visit
  },

  async 'without script the form sends the file' (world) {
    const visit = await world.begin({ javaScriptEnabled: false })
    const file = world.file('plain.txt', 5000)

    await visit.page.setInputFiles('#file', file)
    await visit.page.click('#send')
    await until(() => world.server.files().length === 1, 'the file is there')

    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'a hidden frame sends the file, and its progress is asked for' (world) {
    await world.begin()
    const visit = await world.visit('/?mode=iframe')
    world.network.rate = 2 * MB
    const file = world.file('framed.bin', 8 * MB)

    await visit.page.setInputFiles('#file', file)
    await visit.page.click('#send')
    const seen = new Set()
    await until(async () => {
      const said = await visit.page.locator('#live').textContent()
      seen.add(said)
      return /^Done/.test(said)
    }, 'done', 30000)

    assert.ok([...seen].filter(text => /^\d+ %$/.test(text)).length >= 3, [...seen].join(' | '))
    assert.deepEqual(world.server.files(), sums([file]))
    return visit
  },

  async 'screenshots' (world) {
    const visit = await world.begin({ viewport: { width: 900, height: 950 }, reducedMotion: 'reduce' })
    const target = process.env.SCREENSHOTS
    world.network.rate = 4 * MB
    const picture = path.join(world.home, 'Harbour at dawn.jpg')
    await visit.choose(picture)
    await visit.shows('Harbour at dawn.jpg', /^Done/)
    await visit.choose(world.file('Lecture 12.mp4', 48 * MB), world.file('Thesis, final version.pdf', 26 * MB), world.file('backup.tar.gz', 90 * MB))
    await visit.shows('Thesis', /^[3-9]\d %/)
    await visit.click('Thesis', 'Pause')
    await visit.shows('Lecture 12.mp4', /^[3-9]\d %.*left/)
    await visit.page.mouse.move(5, 5)
    await visit.page.screenshot({ path: path.join(target, 'page.png') })
    await visit.page.emulateMedia({ colorScheme: 'dark' })
    await visit.page.screenshot({ path: path.join(target, 'page-dark.png') })
    await visit.page.setViewportSize({ width: 375, height: 800 })
    await visit.page.screenshot({ path: path.join(target, 'page-phone.png') })
    return visit
  }
}

await play(scenarios)
