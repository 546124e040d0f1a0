/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file_replacer.h"

static char folder[FILE_REPLACER_PATH_MAX / 2];
static char path[FILE_REPLACER_PATH_MAX];

static void
begin(void)
{
    (void) snprintf(folder, sizeof(folder), "/tmp/test_file_replacer.XXXXXX");
    expect(mkdtemp(folder) != NULL);
    (void) snprintf(path, sizeof(path), "%s/file", folder);
}

static void
end(void)
{
    (void) unlink(path);
    expect_equal(rmdir(folder), 0); /* Nothing temporary is left. */
}

/* What the file holds; empty if there is none. */
static const char *
content(void)
{
    static char text[FILE_REPLACER_CONTENT_MAX + 1];
    text[0] = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) return text;
    const size_t size = fread(text, 1, FILE_REPLACER_CONTENT_MAX, file);
    text[size] = 0;
    (void) fclose(file);
    return text;
}

UNIT_TEST(the_newest_content_is_there_after_the_stop)
{
    struct file_replacer replacer;
    begin();
    file_replacer_start(&replacer, path, 0600);
    expect(replacer.threaded);
    char text[32] = "";
    for (uint32_t i = 1; i <= 200; i++) {
        const int size = snprintf(text, sizeof(text), "content %u", i);
        file_replacer_put(&replacer, text, (size_t) size);
        /* Whatever is there, it is whole. */
        if (content()[0] != 0) expect(strncmp(content(), "content ", 8) == 0);
    }
    expect_equal(file_replacer_stop(&replacer), 0);
    expect(strcmp(content(), "content 200") == 0);
    struct stat status;
    expect_equal(stat(path, &status), 0);
    expect_equal(status.st_mode & 0777, 0600);
    end();
}

UNIT_TEST(nothing_put_nothing_written)
{
    struct file_replacer replacer;
    begin();
    file_replacer_start(&replacer, path, 0600);
    expect_equal(file_replacer_stop(&replacer), 0);
    expect(access(path, F_OK) != 0);
    end();
}

UNIT_TEST(an_error_is_told_and_leaves_what_was_there)
{
    struct file_replacer replacer;
    begin();
    char temporary[FILE_REPLACER_PATH_MAX + 8];
    (void) snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    expect_equal(file_replace(path, temporary, 0600, "first", 5), 0);
    expect_equal(mkdir(temporary, 0700), 0); /* Where the temporary file would be. */
    file_replacer_start(&replacer, path, 0600);
    file_replacer_put(&replacer, "second", 6);
    for (uint32_t i = 0; i < 500 && file_replacer_error(&replacer) == 0; i++) (void) usleep(10000);
    expect_equal(file_replacer_error(&replacer), EISDIR);
    expect(strcmp(content(), "first") == 0);
    expect_equal(rmdir(temporary), 0);
    file_replacer_put(&replacer, "third", 5);
    expect_equal(file_replacer_stop(&replacer), 0);
    expect(strcmp(content(), "third") == 0);
    end();
}

UNIT_MAIN(test_file_replacer)
