/*
 * simboard - one simulated Arduino-class AVR board behind a pty.
 *
 * Runs a REAL bootloader hex in libsimavr, bridges USART0 to a pty, so that a
 * REAL avrdude can flash it, then runs whatever application was flashed.
 *
 * Reset sources:
 *   - "open":  0 -> 1 openers of the pty slave (what DTR does on a real Uno:
 *              the tty layer raises DTR on first open), seen with inotify
 *   - "line":  a datagram "D0/D1 R0/R1" on the control socket, sent by the
 *              LD_PRELOAD shim dtrshim.so for TIOCMSET/TIOCMBIS/TIOCMBIC;
 *              DTR rising (0 -> 1) resets
 *   - stdin / control datagram "reset"
 *
 * Other control words (stdin line or datagram):
 *   mute on|off    firmware sees no input (board does not answer)
 *   muteat N       mute after N more input bytes (board dies mid-transfer)
 *   stuck ADDR     flash byte ADDR always reads back inverted-stuck 0x00 (bad
 *                  cell; -1 = none)
 *   hangup         unplug: close the pty, remove the link (tool gets EIO)
 *   plug           plug in again: new pty, same link name
 *   dump FILE      write the flash to FILE
 *   stat           print counters on stdout
 *   quit
 *
 * Build: gcc -O2 -Wall -o simboard simboard.c -lsimavr -lelf -lutil
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/sim_avr.h>
#include <simavr/avr_uart.h>
#include <simavr/avr_flash.h>
#include <simavr/avr_ioport.h>
#include <simavr/sim_time.h>

static avr_t *avr;
static avr_irq_t *rx_irq;
static int master = -1, slave = -1, ino = -1, ctl = -1;
static char slave_name[64];
static const char *link_path, *image_path, *ctl_path;
static int openers, xoff, halted, mute, verbose, trigger_open = 1;
static int dtr = -1;
static long stuck = -1, mute_at = -1;
static double nvm_ms = 4.5;
static int garble;
static int lock_boot = 1;
static uint64_t n_pages, n_locked;
static uint8_t inbuf[8192];
static unsigned in_r, in_w;
static uint64_t n_rx, n_tx, n_drop, n_reset, n_open, slip_ms;
static uint32_t mcusr = 0x54;
static volatile sig_atomic_t quit;
static uint32_t boot_base, freq = 16000000;
static double speed = 1.0;
static uint64_t t0_wall, t0_cyc;

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void say(const char *fmt, ...)
{
	va_list ap;
	if (!verbose)
		return;
	static uint64_t first;
	if (!first)
		first = now_ns();
	fprintf(stderr, "[%9.3f] ", (now_ns() - first) / 1e9);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void quiet_logger(avr_t *a, const int level, const char *fmt, va_list ap)
{
	if (verbose > 1 || level <= LOG_ERROR)
		vfprintf(stderr, fmt, ap);
}

static void rebase(void)
{
	t0_wall = now_ns();
	t0_cyc = avr->cycle;
}

static void board_reset(const char *why)
{
	in_r = in_w = 0;
	xoff = 0;
	halted = 0;
	avr_reset(avr);
	avr->data[mcusr] = 1 << 1;	/* EXTRF: the reset pin, not power-on */
	n_reset++;
	rebase();
	say("reset (%s)", why);
}

/* The light: PB5 on an Uno and a Nano, PB7 on a Mega. */
static unsigned long n_blink;
static void on_light(avr_irq_t *irq, uint32_t v, void *p)
{
	if (v && !irq->value)
		n_blink++;
}

static void check_speed(void);
static void on_tx(avr_irq_t *irq, uint32_t v, void *p)
{
	check_speed();
	uint8_t b = garble ? v ^ 0x5a : v;
	n_tx++;
	if (!openers || master < 0 || write(master, &b, 1) != 1)
		n_drop++;	/* nobody listens: a USB-serial chip drops it too */
}

static void on_xon(avr_irq_t *irq, uint32_t v, void *p) { if (v) xoff = 0; }
static void on_xoff(avr_irq_t *irq, uint32_t v, void *p) { if (v) xoff = 1; }

/* A pty carries bytes at any speed setting. Compare the speed that the opener set with the one that the running firmware
 * programmed into its UART, and garble what does not fit, as a wire would: so a bootloader at 57600 Bd, or a sketch at
 * another speed than its bootloader, needs the right number. */
static const struct { speed_t code; int baud; } speeds[] = {
	{B1200, 1200}, {B2400, 2400}, {B4800, 4800}, {B9600, 9600}, {B19200, 19200}, {B38400, 38400}, {B57600, 57600},
	{B115200, 115200}, {B230400, 230400}, {B460800, 460800}, {B500000, 500000}, {B921600, 921600}, {B1000000, 1000000},
};

static int opener_baud(void)
{
	struct termios t;
	if (slave < 0 || tcgetattr(slave, &t))
		return 0;
	for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++)
		if (speeds[i].code == cfgetospeed(&t))
			return speeds[i].baud;
	return 0;
}

static int firmware_baud(void)
{
	/* UCSR0A, UBRR0L and UBRR0H lie at the same addresses on all chips used here */
	int divider = (avr->data[0xc5] & 0x0f) << 8 | avr->data[0xc4];
	return freq / ((avr->data[0xc0] & 1 << 1 ? 8 : 16) * (divider + 1));
}

static void check_speed(void)
{
	int theirs = opener_baud(), ours = firmware_baud();
	garble = abs(theirs - ours) > ours / 20;
}

static void feed(void)
{
	while (in_r != in_w && !xoff) {
		uint8_t b = inbuf[in_r++ % sizeof inbuf];
		if (mute_at >= 0 && mute_at-- == 0)
			mute = 1;
		if (!mute)
			avr_raise_irq(rx_irq, b);
	}
}

/* simavr's own sleep callback blocks in usleep() until the next timer; ours does
 * not, and a 0.5 ms tick bounds how far a sleeping core jumps ahead. */
static void no_sleep(avr_t *a, avr_cycle_count_t how_long) { }
static avr_cycle_count_t tick(avr_t *a, avr_cycle_count_t when, void *p)
{
	return when + a->frequency / 2000;
}

/* Stand between the core and simavr's flash module, for what it leaves out:
 * the boot section is locked (BLB1 lock bits, as Arduino ships it), and a page
 * write takes 4.5 ms. */
static int (*flash_ioctl)(avr_io_t *, uint32_t, void *);
static int on_flash(avr_io_t *port, uint32_t ctlreq, void *param)
{
	if (ctlreq != AVR_IOCTL_FLASH_SPM)
		return flash_ioctl(port, ctlreq, param);
	avr_flash_t *f = (avr_flash_t *)port;
	uint32_t z = avr->data[R_ZL] | avr->data[R_ZH] << 8;
	if (avr->rampz)
		z |= avr->data[avr->rampz] << 16;
	int ers = avr_regbit_get(avr, f->pgers), wrt = avr_regbit_get(avr, f->pgwrt);
	if (avr_regbit_get(avr, f->selfprgen) && (ers || wrt)) {
		if (lock_boot && z >= boot_base) {
			n_locked++;
			avr_regbit_clear(avr, f->selfprgen);
			return 0;
		}
		if (wrt) {
			n_pages++;
			avr->cycle += (uint64_t)(nvm_ms * freq / 1000);
		}
	}
	return flash_ioctl(port, ctlreq, param);
}

static void plug(void)
{
	struct termios t;
	if (master >= 0)
		return;
	if (openpty(&master, &slave, slave_name, NULL, NULL)) {
		perror("openpty");
		exit(2);
	}
	tcgetattr(slave, &t);
	cfmakeraw(&t);
	tcsetattr(slave, TCSANOW, &t);
	/* our own slave fd stays open (before the watch, so it is not counted):
	 * only through it can unread bytes be flushed when the last user closes,
	 * as a real tty does; flushing the master leaves them to the next opener */
	fcntl(slave, F_SETFD, FD_CLOEXEC);
	fcntl(master, F_SETFL, O_NONBLOCK);
	fcntl(master, F_SETFD, FD_CLOEXEC);
	inotify_add_watch(ino, slave_name, IN_OPEN | IN_CLOSE);
	openers = 0;
	if (link_path) {
		char tmp[512];
		snprintf(tmp, sizeof tmp, "%s.%d", link_path, getpid());
		unlink(tmp);
		if (symlink(slave_name, tmp) || rename(tmp, link_path))
			perror("link");
	}
	say("plug %s", slave_name);
}

static void hangup(void)
{
	if (master < 0)
		return;
	if (link_path)
		unlink(link_path);
	close(master);
	close(slave);
	master = slave = -1;
	openers = 0;
	say("hangup");
}

static void save_image(const char *path)
{
	char tmp[512];
	snprintf(tmp, sizeof tmp, "%s.tmp", path);
	FILE *f = fopen(tmp, "wb");
	if (!f || fwrite(avr->flash, 1, avr->flashend + 1, f) != avr->flashend + 1) {
		perror(tmp);
		if (f)
			fclose(f);
		return;
	}
	fclose(f);
	if (rename(tmp, path))
		perror(path);
}

static void command(char *c)
{
	c[strcspn(c, "\r\n")] = 0;
	if (!strcmp(c, "reset"))
		board_reset("command");
	else if (!strcmp(c, "mute on"))
		mute = 1;
	else if (!strcmp(c, "mute off"))
		mute = 0;
	else if (!strncmp(c, "muteat ", 7))
		mute_at = strtol(c + 7, NULL, 0);
	else if (!strncmp(c, "stuck ", 6))
		stuck = strtol(c + 6, NULL, 0);
	else if (!strcmp(c, "hangup"))
		hangup();
	else if (!strcmp(c, "plug"))
		plug();
	else if (!strncmp(c, "dump ", 5))
		save_image(c + 5);
	else if (!strcmp(c, "stat")) {
		struct rusage ru;
		getrusage(RUSAGE_SELF, &ru);
		printf("opens=%lu resets=%lu pages=%lu locked=%lu blinks=%lu rx=%lu tx=%lu dropped=%lu slip_ms=%lu cpu_s=%.2f pc=%05x\n",
			n_open, n_reset, n_pages, n_locked, n_blink, n_rx, n_tx, n_drop, slip_ms,
			ru.ru_utime.tv_sec + ru.ru_stime.tv_sec +
			(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6, avr->pc);
		fflush(stdout);
	} else if (c[0] == 'D') {	/* D<dtr> R<rts> from the shim */
		int d = c[1] == '1';
		if (d && dtr == 0)
			board_reset("DTR");
		dtr = d;
	} else if (!strcmp(c, "quit"))
		quit = 1;
}

/* Intel HEX reader of our own: simavr's rejects record types 03/05, which the
 * Debian optiboot hex contains. Returns the lowest address of the big block. */
static int load_hex(const char *path, uint32_t *lowest)
{
	FILE *f = fopen(path, "r");
	char l[600];
	uint32_t base = 0;
	int bytes = 0;
	if (!f)
		return -1;
	*lowest = UINT32_MAX;
	while (fgets(l, sizeof l, f)) {
		unsigned n, a, t, v;
		if (l[0] != ':' || sscanf(l + 1, "%2x%4x%2x", &n, &a, &t) != 3)
			continue;
		if (t == 1)
			break;
		for (unsigned i = 0; i < n; i++) {
			if (sscanf(l + 9 + 2 * i, "%2x", &v) != 1)
				return -1;
			if (t == 0 && base + a + i <= avr->flashend) {
				avr->flash[base + a + i] = v;
				bytes++;
				if (base + a < *lowest)
					*lowest = base + a;
			}
		}
		if (t == 2 && sscanf(l + 9, "%4x", &v) == 1)
			base = v << 4;
		if (t == 4 && sscanf(l + 9, "%4x", &v) == 1)
			base = v << 16;
	}
	fclose(f);
	return bytes;
}

static void on_sig(int s) { quit = 1; }

/* inotify makes one event of two equal ones in a row that were not read yet, and a program may have the port open
 * twice: two closes can look like one. So what is left after a close is counted, as far as /proc lets us look. */
static int real_openers(int believed)
{
	char path[600], target[64];
	int found = 0;
	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc && (e = readdir(proc));) {
		int pid = atoi(e->d_name);
		if (pid <= 0 || pid == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/%d/fd", pid);
		DIR *fds = opendir(path);
		for (struct dirent *f; fds && (f = readdir(fds));) {
			snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, f->d_name);
			ssize_t len = readlink(path, target, sizeof target - 1);
			if (len > 0 && (target[len] = 0, !strcmp(target, slave_name)))
				found++;
		}
		if (fds)
			closedir(fds);
	}
	if (proc)
		closedir(proc);
	return found < believed ? found : believed;
}

int main(int argc, char **argv)
{
	const char *mcu = "atmega328p", *boot = NULL;
	static const struct option lo[] = {
		{"mcu", 1, 0, 'm'}, {"freq", 1, 0, 'f'}, {"boot", 1, 0, 'b'},
		{"link", 1, 0, 'l'}, {"image", 1, 0, 'i'}, {"ctl", 1, 0, 'c'},
		{"trigger", 1, 0, 't'}, {"speed", 1, 0, 's'}, {"nvm-ms", 1, 0, 'n'}, {"unlocked", 0, 0, 'u'}, {"verbose", 0, 0, 'v'}, {0}};
	int o;
	while ((o = getopt_long(argc, argv, "m:f:b:l:i:c:t:s:n:uv", lo, NULL)) != -1)
		switch (o) {
		case 'm': mcu = optarg; break;
		case 'f': freq = atoi(optarg); break;
		case 'b': boot = optarg; break;
		case 'l': link_path = optarg; break;
		case 'i': image_path = optarg; break;
		case 'c': ctl_path = optarg; break;
		case 't': trigger_open = !strcmp(optarg, "open"); break;
		case 's': speed = atof(optarg); break;
		case 'n': nvm_ms = atof(optarg); break;
		case 'u': lock_boot = 0; break;
		case 'v': verbose++; break;
		default: return 2;
		}
	if (!boot) {
		fprintf(stderr, "usage: simboard --boot HEX [--mcu atmega328p] [--link PATH] [--image FILE] [--ctl SOCK] [--trigger open|line] [--speed X] [-v]\n");
		return 2;
	}
	avr_global_logger_set(quiet_logger);
	avr = avr_make_mcu_by_name(mcu);
	if (!avr) {
		fprintf(stderr, "unknown mcu %s\n", mcu);
		return 2;
	}
	avr_init(avr);
	avr->frequency = freq;
	avr->log = LOG_ERROR;
	avr->sleep = no_sleep;
	for (avr_io_t *io = avr->io_port; io; io = io->next)
		if (io->kind && !strcmp(io->kind, "flash")) {
			flash_ioctl = io->ioctl;
			io->ioctl = on_flash;
		}
	memset(avr->flash, 0xff, avr->flashend + 1);
	if (image_path) {
		FILE *f = fopen(image_path, "rb");
		if (f) {
			if (fread(avr->flash, 1, avr->flashend + 1, f) != avr->flashend + 1)
				fprintf(stderr, "short image\n");
			fclose(f);
		}
	}
	if (load_hex(boot, &boot_base) <= 0) {
		fprintf(stderr, "cannot read %s\n", boot);
		return 2;
	}
	avr->reset_pc = avr->pc = boot_base;	/* BOOTRST fuse programmed */
	avr->codeend = avr->flashend;

	uint32_t fl = 0;
	avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &fl);
	rx_irq = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_tx, NULL);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), strstr(avr->mmcu, "2560") ? 7 : 5), on_light, NULL);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), on_xon, NULL);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), on_xoff, NULL);

	struct sigaction sa = {.sa_handler = on_sig};
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);

	ino = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (ctl_path) {
		struct sockaddr_un a = {.sun_family = AF_UNIX};
		strncpy(a.sun_path, ctl_path, sizeof a.sun_path - 1);
		unlink(ctl_path);
		ctl = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (bind(ctl, (struct sockaddr *)&a, sizeof a))
			perror(ctl_path);
	}
	plug();
	printf("%s\n", slave_name);
	fflush(stdout);
	board_reset("power");

	int stdin_open = 1;
	while (!quit) {
		uint64_t wall = now_ns();
		uint64_t target = t0_cyc + (uint64_t)((wall - t0_wall) / 1e9 * freq * speed);
		if (target > avr->cycle && target - avr->cycle > freq / 20) {
			slip_ms += (target - avr->cycle) * 1000 / freq;
			rebase();	/* host too slow: let simulated time slip */
			target = avr->cycle;
		}
		if (!avr_cycle_timer_status(avr, tick, NULL))
			avr_cycle_timer_register(avr, freq / 2000, tick, NULL);
		uint64_t stop = target;
		if (stuck >= 0)
			avr->flash[stuck] = 0;
		while (!halted && avr->cycle < stop) {
			int st = avr_run(avr);
			if (in_r != in_w && !xoff)
				feed();
			if (st == cpu_Done || st == cpu_Crashed) {
				if (!halted)
					say("cpu %s pc=%05x", st == cpu_Done ? "done" : "crashed", avr->pc);
				halted = 1;	/* until the next reset */
				break;
			}
		}
		struct pollfd p[4] = {
			{.fd = ino, .events = POLLIN},
			{.fd = stdin_open ? 0 : -1, .events = POLLIN},
			{.fd = ctl, .events = POLLIN},
			{.fd = openers && in_w - in_r < 4096 ? master : -1, .events = POLLIN},
		};
		if (poll(p, 4, 1) <= 0)
			continue;
		if (p[0].revents) {
			char eb[4096] __attribute__((aligned(8)));
			ssize_t len = read(ino, eb, sizeof eb);
			for (char *q = eb; len > 0 && q < eb + len;) {
				struct inotify_event *e = (void *)q;
				if (e->mask & IN_OPEN) {
					n_open++;
					if (openers++ == 0) {
						say("open");
						if (trigger_open)
							board_reset("open");
					}
				}
				if ((e->mask & IN_CLOSE) && openers > 1)
					openers = real_openers(openers - 1) + 1;
				if ((e->mask & IN_CLOSE) && openers > 0 && --openers == 0) {
					say("close (rx %lu tx %lu)", n_rx, n_tx);
					if (slave >= 0)
						tcflush(slave, TCIOFLUSH);
					if (image_path)
						save_image(image_path);
				}
				q += sizeof *e + e->len;
			}
		}
		if (p[3].revents & POLLIN) {
			uint8_t b[2048];
			ssize_t k = read(master, b, sizeof b);
			check_speed();
			for (ssize_t i = 0; i < k; i++)
				inbuf[in_w++ % sizeof inbuf] = garble ? b[i] ^ 0xa5 : b[i];
			if (k > 0)
				n_rx += k;
		}
		if (p[1].revents) {
			char line[512];
			ssize_t k = read(0, line, sizeof line - 1);
			if (k <= 0)
				stdin_open = 0;
			else {
				line[k] = 0;
				for (char *s = strtok(line, "\n"); s; s = strtok(NULL, "\n"))
					command(s);
			}
		}
		if (p[2].revents) {
			char line[512];
			ssize_t k = recv(ctl, line, sizeof line - 1, 0);
			if (k > 0) {
				line[k] = 0;
				command(line);
			}
		}
	}
	if (image_path)
		save_image(image_path);
	hangup();
	if (ctl_path)
		unlink(ctl_path);
	return 0;
}
