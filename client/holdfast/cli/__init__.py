"""The command line: one click tree for the shell, for cron and for the prompt. Commands return data, output renders."""
