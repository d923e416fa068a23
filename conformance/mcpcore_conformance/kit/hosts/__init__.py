"""The hosts: how clients reach the kit, as a scripted server, over each binding."""
