/* main.c - tidemill-agent's command line. */
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"

static const char usage[] =
    "usage: tidemill-agent launch [--dir DIR | --task DIR]\n"
    "       tidemill-agent install DIR\n"
    "       tidemill-agent setup\n"
    "       tidemill-agent models check | models serve DIR | models ready DIR\n"
    "       tidemill-agent version\n"
    "\n"
    "Runs one step of a pipeline inside its container. The engine leaves the task in DIR (default " LAUNCH_DIR ")\n"
    "and reads the result from there; with --task it is another directory that holds the task. install leaves a copy of this "
    "program in a volume.\n"
    "setup has pip install what the task needs, before it, where later tasks find it.\n"
    "models stands beside a step and lets it see the image that it runs in. Nobody needs to call these by hand.\n";

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "version") == 0) {
        puts("tidemill-agent " TIDEMILL_VERSION);
        return 0;
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "launch") == 0)
        return agent_launch(LAUNCH_DIR, LAUNCH_DIR);
    if (argc == 2 && strcmp(argv[1], "setup") == 0)
        return agent_setup(LAUNCH_DIR);
    if (argc == 3 && strcmp(argv[1], "install") == 0)
        return agent_install(argv[2]);
    if (argc == 3 && strcmp(argv[1], "models") == 0 && strcmp(argv[2], "check") == 0)
        return agent_models(argv[2], IMAGE_MODELS, NULL);
    if (argc == 4 && strcmp(argv[1], "models") == 0 && (strcmp(argv[2], "serve") == 0 || strcmp(argv[2], "ready") == 0))
        return agent_models(argv[2], IMAGE_MODELS, argv[3]);
    if (argc == 4 && strcmp(argv[1], "launch") == 0 && strcmp(argv[2], "--dir") == 0)
        return agent_launch(argv[3], argv[3]);
    if (argc == 4 && strcmp(argv[1], "launch") == 0 && strcmp(argv[2], "--task") == 0)
        return agent_launch(argv[3], LAUNCH_DIR);
    fputs(usage, stderr);
    return 2;
}
