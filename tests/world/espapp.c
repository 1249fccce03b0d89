/* A fake ESP-IDF style application: enough sections and an esp_app_desc_t for the real `esptool elf2image` to make a real,
 * bootable-looking image from it. The code is RISC-V for every chip, Xtensa ones too: espfake.py never executes it.
 * Build: see build.sh. -DPROJECT='"blinky"' -DVERSION='"1.4.2"' [-DPAD=bytes] [-DFILL=0x5a]
 * [-DNO_APPDESC -DBOARD='"esp8266"'] */
typedef unsigned char u8;
typedef unsigned int u32;
#ifndef PAD
#define PAD 4096
#endif
#ifndef FILL
#define FILL 0x5a
#endif
#ifndef NO_APPDESC
struct esp_app_desc {
	u32 magic_word, secure_version, reserv1[2];
	char version[32], project_name[32], time[16], date[16], idf_ver[32];
	u8 app_elf_sha256[32];
	u32 reserv2[20];
};
__attribute__((used, section(".flash.appdesc"))) const struct esp_app_desc esp_app_desc = {
	.magic_word = 0xABCD5432, .secure_version = 0,
	.version = VERSION, .project_name = PROJECT,
	.time = "12:00:00", .date = "Jan  1 2026", .idf_ver = "v5.3.1",
};
#else
/* What the application prints; those with a descriptor have it made from that. */
__attribute__((used, section(".flash.appdesc"))) const char banner[64] = "ID board=" BOARD " fw=" VERSION;
#endif
__attribute__((used, section(".flash.rodata"))) const u8 pad[PAD] = {[0 ... PAD - 1] = FILL};
__attribute__((used, section(".iram0.text"))) void call_start_cpu0(void) { for (;;) ; }
__attribute__((used, section(".flash.text"))) void app_main(void) { for (;;) ; }
