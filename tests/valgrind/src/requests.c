/* What the programs ask valgrind for: macros, which only a C compiler can expand. */

#include <stdint.h>
#include <string.h>
#include <valgrind/callgrind.h>
#include <valgrind/memcheck.h>

unsigned vg_running(void) { return RUNNING_ON_VALGRIND; }
unsigned vg_errors(void) { return VALGRIND_COUNT_ERRORS; }
void vg_undefined(void *at, size_t bytes) { (void)VALGRIND_MAKE_MEM_UNDEFINED(at, bytes); }
void vg_defined(void *at, size_t bytes) { (void)VALGRIND_MAKE_MEM_DEFINED(at, bytes); }
void vg_silent(void) { VALGRIND_DISABLE_ERROR_REPORTING; }
void vg_loud(void) { VALGRIND_ENABLE_ERROR_REPORTING; }
void vg_toggle(void) { CALLGRIND_TOGGLE_COLLECT; }
void vg_zero(void) { CALLGRIND_ZERO_STATS; }
void vg_dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }

static unsigned compared;

/* Calls of the one comparison in which undefined bytes took part, since the last time it was asked. */
unsigned vg_compared(void) {
    unsigned found = compared;
    compared = 0;
    return found;
}

static int is_undefined(const void *at, size_t bytes) {
    static unsigned char bits[65536];
    if (bytes > sizeof bits) bytes = sizeof bits;
    if (VALGRIND_GET_VBITS(at, bits, bytes) != 1) return 0;
    for (size_t i = 0; i < bytes; i++)
        if (bits[i]) return 1;
    return 0;
}

/* Stands around `same_bytes` of src/secret.rs, through which every comparison of secrets goes. Its verdict is
   no secret: it is made defined, so that the machine may act on it, and nothing else is. */
__attribute__((used, retain)) unsigned char I_WRAP_SONAME_FNNAME_ZZ(NONE, ZasecretZasame_bytesZa)(
    const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    OrigFn original;
    unsigned long verdict;
    VALGRIND_GET_ORIG_FN(original);
    compared += is_undefined(a, a_bytes) || is_undefined(b, b_bytes);
    CALL_FN_W_WWWW(verdict, original, a, a_bytes, b, b_bytes);
    (void)VALGRIND_MAKE_MEM_DEFINED(&verdict, sizeof verdict);
    return (unsigned char)verdict;
}
