/* Tiny AVR application: prints an identification line at start, on every '?'
 * byte received, and every 2 s; sleeps between events so that the simulator
 * (and a real chip) idles.
 * Build: see build.sh.  -DBOARD=\"uno\" -DFW=\"1.2.0\" [-DPAD=bytes [-DFILL=0xA5]] [-DBAUD=57600UL] */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#ifndef BOARD
#define BOARD "uno"
#endif
#ifndef FW
#define FW "1.2.0"
#endif
#ifndef BAUD
#define BAUD 115200UL
#endif
#ifndef FILL
#define FILL 0xA5
#endif
#ifdef PAD
static const uint8_t pad[PAD] PROGMEM __attribute__((used)) = {[0 ... PAD - 1] = FILL};
#endif
static volatile uint8_t ask = 1, ticks;
ISR(USART_VECT) { if (UDR0 == '?') ask = 1; }
ISR(TIMER1_COMPA_vect) { if (++ticks >= 2) { ticks = 0; ask = 1; } }
static void put(const char *s)
{
	for (char c; (c = pgm_read_byte(s)); s++) {
		while (!(UCSR0A & _BV(UDRE0)))
			;
		UDR0 = c;
	}
}
int main(void)
{
	UCSR0A = _BV(U2X0);
	UBRR0 = (F_CPU + BAUD * 4) / (BAUD * 8) - 1;
	UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
	UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);
	TCCR1B = _BV(WGM12) | _BV(CS12) | _BV(CS10);	/* CTC, /1024 */
	OCR1A = F_CPU / 1024;
	TIMSK1 = _BV(OCIE1A);
#ifdef PAD
	GPIOR0 = pgm_read_byte(pad);	/* keep the padding in the image */
#endif
	sei();
	for (;;) {
		if (ask) {
			ask = 0;
			put(PSTR("ID board=" BOARD " fw=" FW "\r\n"));
		}
		set_sleep_mode(SLEEP_MODE_IDLE);
		cli();
		if (!ask) { sleep_enable(); sei(); sleep_cpu(); sleep_disable(); }
		sei();
	}
}
