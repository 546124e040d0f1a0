/* SPDX-License-Identifier: PostgreSQL */
/* See network_secrets.h. */
#include "os/network_secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool
id_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* Returns what is wrong with the line, or NULL. */
static const char *
parse_line(struct network_secrets *secrets, const char *line, size_t size)
{
    size_t id_size = 0;
    while (id_size < size && id_character(line[id_size])) id_size += 1;
    if (id_size == 0 || id_size == size || line[id_size] != ':') {
        return "expected a key's id, of letters, digits, '.', '_' and '-', and a colon";
    }
    if (id_size >= NETWORK_SECRET_ID_SIZE) return "a key's id has at most 32 characters";
    if (size - id_size - 1 != 2 * (size_t) NETWORK_SECRET_SIZE) {
        return "a secret has 64 hexadecimal digits";
    }
    if (network_secrets_find(secrets, line, id_size) != NULL) return "this id is there already";
    if (secrets->count == NETWORK_SECRETS_MAX) return "there are at most 8 secrets";
    struct network_secret *secret = &secrets->secrets[secrets->count];
    memset(secret, 0, sizeof(*secret));
    memcpy(secret->id, line, id_size);
    const char *digits = line + id_size + 1;
    for (uint32_t i = 0; i < NETWORK_SECRET_SIZE; i++) {
        const int high = hex_value(digits[2 * i]);
        const int low = hex_value(digits[2 * i + 1]);
        if (high < 0 || low < 0) return "a secret has 64 hexadecimal digits";
        secret->key[i] = (uint8_t) (high * 16 + low);
    }
    secrets->count += 1;
    return NULL;
}

bool
network_secrets_parse(
    struct network_secrets *secrets, const char *content, char *text, size_t text_size)
{
    struct network_secrets parsed = {0};
    uint32_t number = 0;
    const char *wrong = NULL;
    assert(content != NULL);
    while (*content != 0 && wrong == NULL) {
        const char *end = strchr(content, '\n');
        const char *next = end == NULL ? content + strlen(content) : end + 1;
        size_t size = (size_t) ((end == NULL ? next : end) - content);
        number += 1;
        while (size > 0 && (content[size - 1] == ' ' || content[size - 1] == '\r')) size -= 1;
        if (size > 0 && content[0] != '#') wrong = parse_line(&parsed, content, size);
        content = next;
    }
    if (wrong != NULL) {
        (void) snprintf(text, text_size, "line %u: %s", number, wrong);
    } else if (parsed.count == 0) {
        (void) snprintf(text, text_size, "there is no secret in it");
    } else {
        *secrets = parsed;
    }
    const bool good = wrong == NULL && parsed.count > 0;
    explicit_bzero(&parsed, sizeof(parsed));
    return good;
}

static bool
readable_by_nobody_else(int fd, char *text, size_t text_size)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        (void) snprintf(text, text_size, "could not be examined: %s", strerror(errno));
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        (void) snprintf(text, text_size, "is not a regular file");
        return false;
    }
    if (status.st_uid != geteuid() && status.st_uid != 0) {
        (void) snprintf(text, text_size, "belongs to another user");
        return false;
    }
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        (void) snprintf(
            text,
            text_size,
            "has permissions %04o: nobody but its owner may read it (chmod 0600)",
            (unsigned) status.st_mode & 07777U);
        return false;
    }
    return true;
}

bool
network_secrets_load(
    struct network_secrets *secrets, const char *path, char *text, size_t text_size)
{
    char content[NETWORK_SECRETS_FILE_MAX + 1];
    assert(path != NULL);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        (void) snprintf(text, text_size, "could not be opened: %s", strerror(errno));
        return false;
    }
    bool good = readable_by_nobody_else(fd, text, text_size);
    if (good) {
        size_t size = 0;
        ssize_t count = 0;
        do {
            count = read(fd, content + size, sizeof(content) - size);
            if (count > 0) size += (size_t) count;
        } while ((count > 0 && size < sizeof(content)) || (count < 0 && errno == EINTR));
        if (count < 0) {
            (void) snprintf(text, text_size, "could not be read: %s", strerror(errno));
            good = false;
        } else if (size == sizeof(content) || memchr(content, 0, size) != NULL) {
            (void) snprintf(text, text_size, "is too long, or no text");
            good = false;
        } else {
            content[size] = 0;
            good = network_secrets_parse(secrets, content, text, text_size);
        }
    }
    explicit_bzero(content, sizeof(content));
    (void) close(fd);
    return good;
}

void
network_secrets_text(const struct network_secrets *secrets, char *text, size_t text_size)
{
    size_t at = 0;
    assert(text_size > 0);
    text[0] = 0;
    for (uint32_t i = 0; i < secrets->count; i++) {
        const char *comma = i == 0 ? "" : ", ";
        const int size =
            snprintf(text + at, text_size - at, "%s\"%s\"", comma, secrets->secrets[i].id);
        if (size < 0 || (size_t) size >= text_size - at) return;
        at += (size_t) size;
    }
}

const struct network_secret *
network_secrets_find(const struct network_secrets *secrets, const void *id, size_t id_size)
{
    if (id_size == 0 || id_size >= NETWORK_SECRET_ID_SIZE) return NULL;
    for (uint32_t i = 0; i < secrets->count; i++) {
        const char *own = secrets->secrets[i].id;
        if (strlen(own) == id_size && memcmp(own, id, id_size) == 0) return &secrets->secrets[i];
    }
    return NULL;
}
