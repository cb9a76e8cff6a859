"""`python -m frontserver.agent` is `frontserver-agent`."""

from frontserver.agent.cli import main

if __name__ == "__main__":
    main()
