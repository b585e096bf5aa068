"""The command line that all commands share: options, help, configuration files and exit codes."""
