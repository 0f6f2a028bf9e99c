"""A graph that needs no model: it greets whom AgentFlow believes to be calling."""
from agentflow.core.graph import StateGraph
from agentflow.core.state import AgentState, Message
from agentflow.storage.checkpointer import InMemoryCheckpointer
from agentflow.utils import END


def greet(state: AgentState, config: dict) -> Message:
    return Message.text_message(f"hello {config['user_id']}", "assistant")


graph = StateGraph()
graph.add_node("greet", greet)
graph.set_entry_point("greet")
graph.add_edge("greet", END)
app = graph.compile(checkpointer=InMemoryCheckpointer())
