import { type Fault, fault } from './fault.ts';

/** Start and end of the process, and what it tells the system. */
export const processFaults: readonly Fault[] = [
  fault(
    'ping waits for a pooler that hangs',
    { file: 'src/daemon/console.ts', find: 'PING_MS = 5000', replace: 'PING_MS = 500_000' },
    ['test/integration/ping.test.ts'],
  ),
  fault(
    'ping fails when the file has been broken meanwhile',
    {
      file: 'src/cli/ping.ts',
      find: 'if (config === null) throw',
      replace: 'if (config === null || errors.length > 0) throw',
    },
    ['test/integration/ping.test.ts'],
  ),
  fault(
    'the second of two takers-over puts its socket over the first one’s',
    {
      file: 'src/net/unix-socket.ts',
      find: '(before === null || !isSameFile(now, before))',
      replace: 'before === null',
    },
    ['test/net/retire.test.ts'],
  ),
  fault(
    'a signal to one that takes over comes too early for anybody to hear it',
    {
      file: 'src/daemon/run.ts',
      find: 'const signals = new StartSignals(options.reboot);',
      replace: 'const signals = new StartSignals(options.reboot, new EventEmitter());',
    },
    ['test/integration/hand-over.test.ts'],
    {
      file: 'src/daemon/run.ts',
      find: "import { availableParallelism } from 'node:os';",
      replace: "import { EventEmitter } from 'node:events';\nimport { availableParallelism } from 'node:os';",
    },
  ),
  fault(
    'an old process that has not answered to SHUTDOWN is left to serve beside the new one',
    {
      file: 'src/daemon/takeover.ts',
      find: 'this.#retry = setTimeout(() => void this.shutDownOld(), RETRY_MS);',
      replace: 'this.#retry = setTimeout(() => {}, RETRY_MS);',
    },
    ['test/daemon/takeover.test.ts'],
  ),
  fault(
    'an old process that may have heard that it is to leave has its place back',
    {
      file: 'src/daemon/takeover.ts',
      find: "if (this.#old === 'serves') this.#undo();",
      replace: "if (this.#old !== 'leaves') this.#undo();",
    },
    ['test/daemon/takeover.test.ts'],
  ),
  fault(
    'a takeover that is undone takes the last name of the old process away',
    {
      file: 'src/daemon/takeover.ts',
      find: 'if (now !== null && isSameFile(now, this.socket)) removeName',
      replace: 'if (now !== null) removeName',
    },
    ['test/daemon/takeover.test.ts'],
  ),
  fault(
    'an old process that has not answered is not told by those who come later either',
    {
      file: 'src/daemon/predecessors.ts',
      find: 'if (this.#untold.delete(path)) void this.#tell(path);',
      replace: '',
    },
    ['test/daemon/predecessors.test.ts'],
  ),
  fault(
    'a signal that comes too late to undo a takeover ends the new process, too',
    {
      file: 'src/daemon/signals.ts',
      find: 'if (this.#isTakeover && ENDING.includes(signal))',
      replace: "if (signal === '')",
    },
    ['test/daemon/signals.test.ts'],
  ),
  fault(
    'the end of a process waits for a name server that does not answer',
    { file: 'src/daemon/run.ts', find: 'isResolving() || areThreadsLeft()', replace: 'areThreadsLeft()' },
    ['test/daemon/ended-start.test.ts'],
  ),
  fault(
    'the end of a process waits for a name server that does not answer one of its threads',
    { file: 'src/daemon/run.ts', find: 'isResolving() || areThreadsLeft()', replace: 'isResolving()' },
    ['test/daemon/ended-start.test.ts'],
  ),
  fault(
    'a start that is ended takes connections all the same, and cuts them',
    { file: 'src/net/listener.ts', find: 'options.ended?.throwIfAborted();', replace: '' },
    ['test/net/retire.test.ts'],
  ),
  fault(
    'a start removes the socket that another start has just made',
    {
      file: 'src/net/unix-socket.ts',
      find: ' && now.changedMs === stale.changedMs',
      replace: ' || now !== null',
    },
    ['test/net/unix-socket.test.ts'],
  ),
  fault(
    'a listener is closed with connections in its queue',
    {
      file: 'src/net/listening-socket.ts',
      find: "if (target.kind === 'tcp') this.#acceptor?.takeAll();",
      replace: '',
    },
    ['test/net/retire.test.ts'],
  ),
  fault(
    'a listener that others stand beside takes new connections until it is closed',
    {
      file: 'src/net/native-listen.ts',
      find: 'return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, fprog, fprog.length) === 0;',
      replace: 'return true;',
    },
    ['test/net/retire.test.ts'],
  ),
  fault(
    "the old process removes the new one's unix socket",
    {
      file: 'src/net/listening-socket.ts',
      find: 'if (path !== null && now !== null && isSameFile(now, file)) removeName(path);',
      replace: 'if (path !== null && now !== null) removeName(path);',
    },
    ['test/net/retire.test.ts'],
  ),
  fault(
    'a unix socket that has taken another’s place comes back from a rest under a name that nobody knows',
    {
      file: 'src/net/listening-socket.ts',
      find: 'this.#hasPlace = true;',
      replace: '',
    },
    ['test/net/retire.test.ts'],
  ),
  fault(
    'a client that the kernel has accepted before the end is refused its login',
    {
      file: 'src/daemon/client-services.ts',
      find: "const lets = state.shutdown === 'no' || (state.shutdown === 'wait_for_clients' && !isNewcomer);",
      replace: "const lets = state.shutdown === 'no' || (isNewcomer && false);",
    },
    ['test/integration/shutdown.test.ts'],
  ),
  fault(
    'sockets for another process are taken',
    {
      file: 'src/daemon/systemd.ts',
      find: 'if (LISTEN_PID !== String(pid) || ',
      replace: 'if (LISTEN_PID === undefined || ',
    },
    ['test/daemon/systemd.test.ts'],
  ),
  fault(
    'a reload that fails is never over',
    {
      file: 'src/daemon/pooler.ts',
      find: "    } finally {\n      options.onReload?.('is over');\n    }",
      replace:
        "      options.onReload?.('is over');\n    } finally {\n      state.isRetiring &&= true;\n    }",
    },
    ['test/integration/systemd.test.ts'],
  ),
  fault(
    'a message may write a second line into syslog',
    {
      file: 'src/daemon/system-log.ts',
      find: "const text = sanitizeMessage(message).replaceAll('\\n\\t', ' ');",
      replace: 'const text = sanitizeMessage(message);',
    },
    ['test/daemon/system-log.test.ts'],
  ),
  fault(
    'a log that syslog does not take is lost',
    {
      file: 'src/daemon/log.ts',
      find: 'if (trouble !== null && this.#settings.quiet) this.#stderr.write(line);',
      replace: '',
    },
    ['test/daemon/system-log.test.ts'],
  ),
  fault(
    'a logfile that cannot be closed at a rotation fails the reload',
    {
      file: 'src/daemon/log.ts',
      find: "this.log('WARNING', `lines may be missing in ${file.path}: ${(error as Error).message}`);",
      replace: 'throw error;',
    },
    ['test/daemon/log.test.ts'],
  ),
  fault(
    'memory can be dumped',
    { file: 'src/net/native-process.ts', find: 'prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);', replace: '' },
    ['test/net/native-process.test.ts'],
  ),
  fault(
    'one missing function of the C library takes all native calls with it',
    {
      file: 'src/net/native.ts',
      find: 'missing.set(name, reasonOf(error));',
      replace: 'for (const each of NATIVE_THEMES) missing.set(each, reasonOf(error));',
    },
    ['test/net/native.test.ts'],
  ),
  fault(
    'a password alone in the entry * is taken for no secret',
    {
      file: 'src/config/load.ts',
      find: 'if (/(^|\\s)password\\s*=/i.test(statement.value)) this.#passwordFiles.add(statement.at.file);',
      replace: '',
    },
    ['test/integration/secrets.test.ts'],
  ),
  fault(
    'a password in a SET that makes no sense gets into the log',
    {
      file: 'src/admin/reply.ts',
      find: 'error: invalidCommand(withoutSecrets(query))',
      replace: 'error: invalidCommand(withoutSecrets(query) && query)',
    },
    ['test/admin/commands.test.ts'],
  ),
  fault(
    'the rest of a password behind a mistyped option is named as a file',
    {
      file: 'src/config/auth-lines.ts',
      find: 'return length > 0 && namesPassword(text.slice(0, length));',
      replace: "return text.slice(0, length).toLowerCase() === 'ldapbindpasswd';",
    },
    ['test/config/auth-lines.test.ts'],
  ),
  fault(
    'the rest of a password without quotes is named as an option that HBA rules do not know',
    {
      file: 'src/config/hba.ts',
      find: "some(namesPassword) ? '' : shownWord(name)",
      replace: 'some(namesPassword) ? name : shownWord(name)',
    },
    ['test/config/hba.test.ts'],
  ),
  fault(
    'the watchdog is fed while a thread hangs',
    {
      file: 'src/daemon/run.ts',
      find: 'manager.watchOver(pooler.beat);',
      replace: '',
    },
    ['test/integration/hanging-threads.test.ts'],
  ),
  fault(
    'a thread that dies while it is asked counts as hanging for ever',
    {
      file: 'src/daemon/correspondence.ts',
      find: "for (const { reject } of waiting) reject(new ThreadGone('the thread has ended'));",
      replace: '',
    },
    ['test/integration/hanging-threads.test.ts'],
  ),
  fault(
    'a graceful shutdown of several threads never ends where the ports were free at once',
    {
      file: 'src/daemon/worker.ts',
      find: 'loop.state.isRetiring = !isRetired;',
      replace: 'loop.state.isRetiring = true;',
    },
    ['test/integration/shutdown.test.ts'],
  ),
  fault(
    'a thread that has nothing left is believed though it does not know of a connection yet',
    {
      file: 'src/daemon/workforce.ts',
      find: 'if (notice.taken !== worker.delivery.count) break;',
      replace: '',
    },
    ['test/daemon/workforce.test.ts'],
  ),
  fault(
    'a thread gets connections ahead of what it was told when it began',
    {
      file: 'src/daemon/workforce.ts',
      find: "    await end.ask({ kind: 'beat' }).catch((error: unknown) => {\n      throw worker.failure ?? error;\n    });\n",
      replace: '',
    },
    ['test/daemon/workforce.test.ts'],
  ),
  fault(
    'a thread takes all connections that come, and does nothing else',
    {
      file: 'src/daemon/reception.ts',
      find: 'this.#take(TAKEN_AT_A_TIME);',
      replace: 'while (this.#ring.length > 0) this.#take(1);',
    },
    ['test/daemon/reception.test.ts'],
  ),
  fault(
    'a thread is woken for its first connections alone',
    { file: 'src/daemon/reception.ts', find: '    this.#ring.beginLooking();\n', replace: '' },
    ['test/daemon/reception.test.ts'],
  ),
  fault(
    'connections that a dead thread has not taken are lost',
    {
      file: 'src/daemon/delivery.ts',
      find: 'return [...untaken, ...this.#overflow.splice(0)];',
      replace: 'return this.#overflow.splice(0);',
    },
    ['test/daemon/workforce.test.ts'],
  ),
  fault(
    'what a thread logs of a command comes behind what the command does, or never',
    {
      file: 'src/daemon/worker.ts',
      find: '    log.flush();\n    port.postMessage',
      replace: '    port.postMessage',
    },
    ['test/integration/shutdown.test.ts'],
  ),
  fault(
    'SUSPEND of several threads outlives the console that asked for it',
    {
      file: 'src/daemon/correspondence.ts',
      find: 'if (this.#lasts(question, answer)) {\n        this.#busy',
      replace: 'if (question.kind === this.#lasts.name) {\n        this.#busy',
    },
    ['test/integration/suspend.test.ts'],
  ),
  fault(
    'SUSPEND that has failed in some threads stays in the others',
    {
      file: 'src/daemon/suspender.ts',
      find: 'if (isRefused) await',
      replace: 'if (reply === null) await',
    },
    ['test/daemon/process-control.test.ts'],
  ),
  fault(
    'SUSPEND that has failed takes a later one with it',
    {
      file: 'src/daemon/control.ts',
      find: 'if (this.#state.suspension?.attempt === attempt) {',
      replace: 'if (attempt > 0) {',
    },
    ['test/integration/threads-commands.test.ts'],
  ),
  fault(
    'a thread keeps a SUSPEND that has failed in another one',
    {
      file: 'src/daemon/control.ts',
      find: 'this.suspension.end();\n      this.checkProgress();',
      replace: 'this.checkProgress();',
    },
    ['test/integration/threads-commands.test.ts'],
  ),
  fault(
    'KILL of all pauses a database made from * in those threads alone that know it',
    {
      file: 'src/daemon/process-control.ts',
      find: 'databases.length === 0 ?',
      replace: 'databases.length >= 0 ?',
    },
    ['test/integration/threads-commands.test.ts', 'test/daemon/process-control.test.ts'],
  ),
  fault(
    'KILL of all makes real what strangers have made up',
    {
      file: 'src/daemon/control.ts',
      find: 'name === null ? !database.isProbed :',
      replace: 'name === null ||',
    },
    ['test/integration/auth-query-tenants.test.ts'],
  ),
  fault(
    'RELOAD is answered when the main thread alone goes by the new configuration',
    {
      file: 'src/daemon/threads.ts',
      find: 'apply(next, nextTls);\n      await workforce.heard();',
      replace: 'apply(next, nextTls);',
    },
    ['test/integration/hanging-threads.test.ts'],
  ),
  fault(
    'a shutdown of several threads leaves what a dead one had running',
    { file: 'src/daemon/threads.ts', find: 'if (orphans.areEnding) return;', replace: '' },
    ['test/integration/threads-commands.test.ts'],
  ),
  fault(
    'a thread that begins amid a shutdown says that nobody is left while connections still come',
    {
      file: 'src/daemon/standing.ts',
      find: "state.isRetiring = standing.shutdown !== 'no';",
      replace: '',
    },
    ['test/daemon/standing.test.ts'],
  ),
  fault(
    'nobody is told how a thread has ended that has thrown nothing',
    { file: 'src/daemon/workforce.ts', find: '? `it has ended with code ${code}` :', replace: "? '' :" },
    ['test/daemon/workforce.test.ts'],
  ),
];
